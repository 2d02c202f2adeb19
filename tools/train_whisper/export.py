"""Writes a trained model as a folder that faster-whisper loads as any other: CTranslate2, int8."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctranslate2.specs import whisper_spec
from tokenizers import Tokenizer

from tools.train_whisper.model import (
    EOT,
    FIRST_TIMESTAMP,
    GUIDED_HEAD,
    HEADS,
    LANGUAGE_TOKENS,
    LAYERS,
    SPACE,
    VOCABULARY,
    Layer,
    TinyWhisper,
)  # fmt: skip

LANGUAGES = range(LANGUAGE_TOKENS["en"], LANGUAGE_TOKENS["en"] + 99)
TOKENIZER, CHECKSUMS = "tokenizer.json", "SHA256SUMS"
PREPROCESSOR = {
    "feature_size": 80, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400,
    "feature_extractor_type": "WhisperFeatureExtractor",
}  # fmt: skip


@torch.no_grad()
def export(model: TinyWhisper, tokenizer: Path, folder: Path, quantization: str = "int8") -> None:
    """Write weights, vocabulary, configuration and `sha256sum`'s list into `folder`, made if missing."""
    spec = whisper_spec.WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    for name in ("conv1", "conv2"):
        _linear(getattr(spec.encoder, name), getattr(model, name))
    sides = (
        (spec.encoder, model.encoder, model.encoder_norm, model.encoder_positions),
        (spec.decoder, model.decoder, model.decoder_norm, model.decoder_positions),
    )
    for side, layers, norm, positions in sides:
        side.position_encodings.encodings = positions.numpy()
        _norm(side.layer_norm, norm)
        for target, layer in zip(side.layer, layers, strict=True):
            _layer(target, layer)
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = every_row(model)
    vocabulary = Tokenizer.from_file(str(tokenizer)).get_vocab()
    spec.register_vocabulary(sorted(vocabulary, key=lambda token: vocabulary[token]))
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], [SPACE, EOT]
    spec.config.lang_ids, spec.config.alignment_heads = list(LANGUAGES), [list(GUIDED_HEAD)]
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    if tokenizer != folder / TOKENIZER:
        shutil.copyfile(tokenizer, folder / TOKENIZER)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR) + "\n")
    write_checksums(folder)


def every_row(model: TinyWhisper) -> np.ndarray:
    """A row for each of Whisper's tokens; all that were never trained have the same."""
    table, used = model.table(), len(model.used)
    rows = table[used].repeat(VOCABULARY, 1)
    rows[list(model.used)], rows[FIRST_TIMESTAMP:] = table[:used], table[used + 1 :]
    return rows.numpy()


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check SHA256SUMS` reads from inside the folder."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".bin"))
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / CHECKSUMS).write_text("".join(lines))


def _layer(target: Any, layer: Layer) -> None:
    own = layer.self_attn
    _norm(target.self_attention.layer_norm, layer.self_attn_layer_norm)
    _linear(target.self_attention.linear[0], own.q_proj, own.k_proj, own.v_proj)
    _linear(target.self_attention.linear[1], own.out_proj)
    if hasattr(layer, "encoder_attn"):
        cross = layer.encoder_attn
        _norm(target.attention.layer_norm, layer.encoder_attn_layer_norm)
        _linear(target.attention.linear[0], cross.q_proj)
        _linear(target.attention.linear[1], cross.k_proj, cross.v_proj)
        _linear(target.attention.linear[2], cross.out_proj)
    _norm(target.ffn.layer_norm, layer.final_layer_norm)
    _linear(target.ffn.linear_0, layer.fc1)
    _linear(target.ffn.linear_1, layer.fc2)


def _linear(target: Any, *parts: Any) -> None:
    target.weight = np.concatenate([part.weight.numpy() for part in parts])
    biases = [np.zeros(len(part.weight), np.float32) if part.bias is None else part.bias.numpy() for part in parts]
    target.bias = np.concatenate(biases)


def _norm(target: Any, norm: torch.nn.LayerNorm) -> None:
    target.gamma, target.beta = norm.weight.numpy(), norm.bias.numpy()

"""Small voices of random weights, in files as real ones are published. They say nothing, and load the same way."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

PHONEMES = list("_^$ !'(),-.:;?abcdefghijklmnopqrstuvwxyzæçðøħŋœɐɑɒɔɕɖɘəɚɛɜɟɡɪɹɾʃʊʌʒʔˈˌː")


def write_piper(path: Path, samples: int = 256) -> Path:
    """A voice of Piper: each phoneme is a stretch of noise of its own."""
    table = np.random.default_rng(7).uniform(-0.4, 0.4, (len(PHONEMES), samples)).astype("<f4")
    nodes = [_node("Gather", ["table", "input"], "gathered"), _node("Reshape", ["gathered", "shape"], "output")]
    shape = _tensor("shape", 7, (3,), struct.pack("<3q", 1, 1, -1))
    weights = [_tensor("table", 1, table.shape, table.tobytes()), shape]
    inputs = [_value("input", 7, 2), _value("input_lengths", 7, 1), _value("scales", 1, 1)]
    graph = b"".join([
        *(_field(1, node) for node in nodes), _field(2, b"voice"), *(_field(5, one) for one in weights),
        *(_field(11, one) for one in inputs), _field(12, _value("output", 1, 3)),
    ])  # fmt: skip
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, _number(2, 13)))
    config = {
        "audio": {"sample_rate": 16_000}, "espeak": {"voice": "en-us"}, "phoneme_type": "espeak",
        "inference": {"noise_scale": 0.6, "length_scale": 1, "noise_w": 0.8}, "num_speakers": 1, "speaker_id_map": {},
        "num_symbols": len(PHONEMES), "phoneme_id_map": {one: [place] for place, one in enumerate(PHONEMES)},
    }  # fmt: skip
    path.with_name(f"{path.name}.json").write_text(json.dumps(config))
    return path


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _node(operation: str, inputs: list[str], output: str) -> bytes:
    named = b"".join(_field(1, one.encode()) for one in inputs)
    return named + _field(2, output.encode()) + _field(4, operation.encode())


def _tensor(name: str, kind: int, shape: tuple[int, ...], raw: bytes) -> bytes:
    sizes = b"".join(_number(1, size) for size in shape)
    return sizes + _number(2, kind) + _field(8, name.encode()) + _field(9, raw)


def _value(name: str, kind: int, dimensions: int) -> bytes:
    shape = b"".join(_field(1, _field(2, f"{name}{place}".encode())) for place in range(dimensions))
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def write_vits(folder: Path) -> Path:
    """A VITS of Coqui, of letters and not of phonemes."""
    import torch
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    torch.manual_seed(7)
    arguments = VitsArgs(
        num_chars=80, hidden_channels=16, hidden_channels_ffn_text_encoder=32, num_heads_text_encoder=2,
        num_layers_text_encoder=1, num_layers_flow=1, num_layers_posterior_encoder=1,
        upsample_initial_channel_decoder=32, init_discriminator=False, use_sdp=False,
    )  # fmt: skip
    config = VitsConfig(model_args=arguments, use_phonemes=False, text_cleaner="basic_cleaners")
    model = Vits(config)
    model.waveform_decoder.conv_post.weight.data *= 1000  # or nobody would hear it
    return _save_coqui(folder, config, model)


def _save_coqui(folder: Path, config, model) -> Path:
    import torch

    folder.mkdir(parents=True)
    config.save_json(str(folder / "config.json"))
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder


def write_bark(folder: Path) -> Path:
    """A Bark of transformers, that speaks a moment."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BarkConfig, BarkModel, PreTrainedTokenizerFast
    from transformers.models.bark.configuration_bark import BarkCoarseConfig, BarkFineConfig, BarkSemanticConfig
    from transformers.models.encodec import EncodecConfig

    torch.manual_seed(7)
    size = {"num_layers": 1, "num_heads": 2, "hidden_size": 16, "block_size": 1024}
    config = BarkConfig(
        semantic_config=BarkSemanticConfig(input_vocab_size=129_600, output_vocab_size=10_048, **size).to_dict(),
        coarse_acoustics_config=BarkCoarseConfig(input_vocab_size=12_096, output_vocab_size=12_096, **size).to_dict(),
        fine_acoustics_config=BarkFineConfig(input_vocab_size=1056, output_vocab_size=1056, **size).to_dict(),
        codec_config=EncodecConfig(num_filters=4, hidden_size=16, codebook_dim=16, num_lstm_layers=1).to_dict(),
    )  # fmt: skip
    model = BarkModel(config)
    model.save_pretrained(folder)
    generation = {"semantic_config": {"max_new_tokens": 16}, "coarse_acoustics_config": {}, "fine_acoustics_config": {}}
    sizes = {"sample_rate": 24_000, "codebook_size": 1024}
    (folder / "generation_config.json").write_text(json.dumps({**generation, **sizes}))
    words = {"[PAD]": 0, "[UNK]": 1, **{word: place for place, word in enumerate(["one", "two", "three"], 2)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder

"""GGUF as llama.cpp reads it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer
from torch import Tensor

from tools.train_llm.model import Llama, Shape
from tools.train_llm.tokens import BEGIN, CHAT_TEMPLATE, END, PAD, SPECIALS, UNKNOWN


def export(model: Llama, tokenizer: Tokenizer, path: Path, name: str = "tiny-llama") -> None:
    """Write a model in F16; norms stay in F32. The embedding is the output layer as well, and written once."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _describe(writer, model.shape)
    _add_tokens(writer, tokenizer, model.shape.vocabulary)
    _add(writer, "token_embd", model.embedding.weight)
    _add(writer, "output_norm", model.norm.weight)
    for number, block in enumerate(model.blocks):
        parts: dict[str, Any] = {
            "attn_norm": block.attention_norm.weight,
            "attn_q": interleaved(block.query.weight, model.shape.heads),
            "attn_k": interleaved(block.key.weight, model.shape.heads),
            "attn_v": block.value.weight,
            "attn_output": block.output.weight,
            "ffn_norm": block.feed_norm.weight,
            "ffn_gate": block.gate.weight,
            "ffn_up": block.up.weight,
            "ffn_down": block.down.weight,
        }
        for part, weight in parts.items():
            _add(writer, f"blk.{number}.{part}", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys in llama.cpp's order of rotary positions: a pair side by side."""
    outputs = weight.shape[0]
    return weight.reshape(heads, 2, outputs // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def _add_tokens(writer: gguf.GGUFWriter, tokenizer: Tokenizer, vocabulary: int) -> None:
    known = json.loads(tokenizer.to_str())["model"]
    texts = {number: text for text, number in known["vocab"].items()}
    merges = [one if isinstance(one, str) else " ".join(one) for one in known["merges"]]
    types = [
        gguf.TokenType.CONTROL if number < len(SPECIALS) else gguf.TokenType.NORMAL for number in range(vocabulary)
    ]
    types[UNKNOWN] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([texts[number] for number in range(vocabulary)])
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _add(writer: gguf.GGUFWriter, name: str, weight: Tensor) -> None:
    values = weight.detach().float().cpu().numpy()
    writer.add_tensor(f"{name}.weight", values.astype(np.float16) if values.ndim > 1 else values)

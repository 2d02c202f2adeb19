"""A Llama small enough to be trained on one CPU core, as llama.cpp computes it.

Source: H. Touvron et al., LLaMA: Open and Efficient Foundation Language Models, arXiv 2302.13971.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; `context` in tokens."""

    vocabulary: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384
    context: int = 512
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        """Of each head."""
        return self.width // self.heads


class Norm(nn.Module):
    """Root mean square normalisation with a learned scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self._epsilon = shape.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self._epsilon)


class Block(nn.Module):
    """Attention with rotary positions, and a gated feed-forward network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._heads = shape.heads
        self.attention_norm, self.feed_norm = Norm(shape), Norm(shape)
        self.query, self.key, self.value, self.output = (_linear(shape.width, shape.width) for _ in range(4))
        self.gate, self.up = (_linear(shape.width, shape.feed_forward) for _ in range(2))
        self.down = _linear(shape.feed_forward, shape.width)

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        batch, length, width = x.shape
        h = self.attention_norm(x)
        query, key, value = (
            part(h).view(batch, length, self._heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        query, key = rotated(query, cosines, sines), rotated(key, cosines, sines)
        x = x + self.output(_attended(query, key, value).transpose(1, 2).reshape(batch, length, width))
        h = self.feed_norm(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """Tokens (batch, length) to hidden states (batch, length, width); the embedding is the output layer as well."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        half = torch.arange(0, shape.head_width, 2).float() / shape.head_width
        angles = torch.arange(shape.context).float()[:, None] * (shape.rope_base**-half)[None]
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=_spread(name, weight))

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cosines[:length], self.sines[:length])
        return self.norm(x)  # type: ignore[no-any-return]

    def scores(self, hidden: Tensor) -> Tensor:
        """Of each token of the vocabulary to be the next one."""
        return functional.linear(hidden, self.embedding.weight)


def rotated(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary positions on the two halves of each head; llama.cpp has them interleaved, which the export sees to."""
    cosines, sines = cosines.to(x.dtype), sines.to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), -1)


def _attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention by plain products: at this size twice as fast on a CPU as PyTorch's own kernel."""
    scores = query @ (key * query.shape[-1] ** -0.5).transpose(-1, -2)
    length = query.shape[-2]
    later = torch.full((length, length), float("-inf"), dtype=query.dtype).triu(1)
    return torch.softmax(scores + later, -1, dtype=scores.dtype) @ value


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _spread(name: str, weight: Tensor) -> float:
    if "embedding" in name:
        return 0.05
    return weight.shape[1] ** -0.5 * (0.5 if name.endswith(("output.weight", "down.weight")) else 1.0)

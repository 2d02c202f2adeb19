"""A Whisper of under a million parameters in plain PyTorch, built so that training it on a CPU is quick.

Source: A. Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, arXiv 2212.04356. Two things are
different while it trains. Only the rows of tokens that occur are learned, plus one for all others, and a timestamp's
row is a linear function of the encoder's position at that moment. And a long stretch in which nothing changes is stood
for by few positions of the encoder, whose attention logits say how many they are; so the 30 second window costs as much
as what is said in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

EOT, SOT, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS, FIRST_TIMESTAMP = (
    50257, 50258, 50359, 50361, 50362, 50363, 50364,
)  # fmt: skip
SPACE = 220
LANGUAGE_TOKENS = {"en": 50259, "de": 50261, "fr": 50265}
VOCABULARY, TIMESTAMPS = 51_865, 1_501
FRAMES, DECODED = 1_500, 448  # positions of the encoder, 20 ms each, and of the decoder
WIDTH, HEADS, INNER, LAYERS, MELS = 128, 4, 384, 2, 80
HALF = WIDTH // 2
NEVER = -1e9  # the logit of what is not to be looked at
GUIDED_HEAD = (1, 0)  # layer and head of the decoder that look at the word being written
# Where each head of the encoder looks at first, in frames from its own: positions alone decide that in the beginning.
OFFSETS = ((-4, -1, 1, 4), (-11, -4, 4, 11))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the frames of a batch lie in the window: `position` (B, T), -1 for nowhere.

    The others (B, K) are the stand-ins: which frame each is a copy of, where it lies, and the logarithm of how many it
    stands for.
    """

    position: Tensor
    source: Tensor
    place: Tensor
    log_count: Tensor


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.v_proj, self.q_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor | None, *, causal=False, weights=False):
        """The output, and the logits of the weights (B, heads, T, S) where they are asked for."""
        q, k, v = _heads(self.q_proj(x)), _heads(self.k_proj(memory)), _heads(self.v_proj(memory))
        with torch.autocast("cpu", enabled=False):  # in bfloat16 this is twice as fast as PyTorch's own attention
            scores = q / math.sqrt(q.shape[-1]) @ k.transpose(-1, -2)
            if bias is not None:
                scores = scores + bias.to(q.dtype)
            if causal:
                scores = scores + torch.full(scores.shape[-2:], NEVER, dtype=q.dtype).triu(1)
            seen = scores.softmax(-1) @ v
        return self.out_proj(seen.transpose(1, 2).flatten(2)), scores if weights else None


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, *, cross: bool) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = Attention(), nn.LayerNorm(WIDTH)
        self.fc1, self.fc2, self.final_layer_norm = (
            nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH), nn.LayerNorm(WIDTH),
        )  # fmt: skip
        if cross:
            self.encoder_attn, self.encoder_attn_layer_norm = Attention(), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor, bias=None, memory=None, memory_bias=None, *, causal=False, weights=False):
        normal = self.self_attn_layer_norm(x)
        x = x + self.self_attn(normal, normal, bias, causal=causal)[0]
        shares = None
        if memory is not None:
            seen, shares = self.encoder_attn(self.encoder_attn_layer_norm(x), memory, memory_bias, weights=weights)
            x = x + seen
        return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x)))), shares


class TinyWhisper(nn.Module):
    """The model for training; `used` are the tokens that occur, without timestamps.

    `index` numbers the tokens as `table` has their rows: used ones, one row for all others, timestamps.
    """

    def __init__(self, used: Sequence[int]) -> None:
        super().__init__()
        self.used = tuple(used)
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList(Layer(cross=False) for _ in range(LAYERS))
        self.decoder = nn.ModuleList(Layer(cross=True) for _ in range(LAYERS))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.tokens = nn.Parameter(torch.randn(len(self.used) + 1, WIDTH) * 0.05)
        self.times = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("encoder_positions", sinusoids(FRAMES))
        self.register_buffer("decoder_positions", sinusoids(DECODED).flip(1) * 0.1)  # not to look like times
        self.register_buffer("moments", sinusoids(TIMESTAMPS))
        self._row = {token: row for row, token in enumerate(self.used)}
        self._start()

    def index(self, token: int) -> int:
        """The row of a token in `table`."""
        return len(self.used) + 1 + token - FIRST_TIMESTAMP if token >= FIRST_TIMESTAMP else self._row[token]

    def table(self) -> Tensor:
        """Rows of all tokens that can be told apart."""
        return torch.cat([self.tokens, self.times(self.moments)])

    def encode(self, mel: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """The memory of mel frames (B, 80, 2T), with what is to be added to attention to it."""
        frames = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2)
        copies = frames.gather(1, layout.source[..., None].expand(-1, -1, WIDTH))
        places = torch.cat([layout.position.clamp(min=0), layout.place], 1)
        x = torch.cat([frames, copies], 1) + self.encoder_positions[places]
        real = torch.zeros(layout.position.shape).masked_fill(layout.position < 0, NEVER)
        bias = torch.cat([real, layout.log_count], 1)[:, None, None]
        for layer in self.encoder:
            x, _ = layer(x, bias)
        return self.encoder_norm(x), bias

    def encode_window(self, mel: Tensor) -> Tensor:
        """The memory of a whole window (B, 80, 3000), as CTranslate2 computes it."""
        x = gelu(self.conv2(gelu(self.conv1(mel)))).transpose(1, 2) + self.encoder_positions
        for layer in self.encoder:
            x, _ = layer(x)
        return self.encoder_norm(x)

    def decode(self, rows: Tensor, memory: Tensor, bias: Tensor | None, table: Tensor) -> tuple[Tensor, Tensor]:
        """The hidden states (B, T, width) for rows of `table`, and the attention of the guided layer."""
        x, shares = table[rows] + self.decoder_positions[: rows.shape[1]], None
        for number, layer in enumerate(self.decoder):
            x, shares = layer(x, None, memory, bias, causal=True, weights=number == GUIDED_HEAD[0])
        return self.decoder_norm(x), shares

    @torch.no_grad()
    def _start(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and name != "tokens":
                nn.init.normal_(parameter, std=0.02 if name.startswith("times") else 0.06)
        self.times.weight += 0.1 * torch.eye(WIDTH)
        for number, layer in enumerate(self.encoder):
            for head, offset in enumerate(OFFSETS[number]):
                self._look_at(layer.self_attn, number, head, offset)

    def _look_at(self, attention: Attention, number: int, head: int, offset: int) -> None:
        """Have a head begin as a delay: its queries and keys are positions, the keys turned by the offset."""
        size, step = WIDTH // HEADS, math.log(10_000) / (HALF - 1)
        q, k, gain = attention.q_proj, attention.k_proj, 1.25
        q.bias.zero_()
        for pair in range(size // 2):
            wave, row = pair + (0 if number == 0 else 3), head * size + 2 * pair
            angle = math.exp(-step * wave) * offset
            q.weight[row, wave] += gain
            q.weight[row + 1, HALF + wave] += gain
            k.weight[row, wave] += gain * math.cos(angle)
            k.weight[row, HALF + wave] -= gain * math.sin(angle)
            k.weight[row + 1, HALF + wave] += gain * math.cos(angle)
            k.weight[row + 1, wave] += gain * math.sin(angle)


def sinusoids(count: int) -> Tensor:
    """Whisper's positions (count, width)."""
    step = math.log(10_000) / (HALF - 1)
    angles = torch.arange(count)[:, None] * torch.exp(-step * torch.arange(HALF))[None]
    return torch.cat([angles.sin(), angles.cos()], 1)

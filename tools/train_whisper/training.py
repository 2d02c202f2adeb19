"""The training loop: tokens, times, and which word is spoken in each frame."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tools.train_whisper.batches import Batch, Batches
from tools.train_whisper.corpus import Utterance
from tools.train_whisper.model import GUIDED_HEAD, TIMESTAMPS, VOCABULARY, WIDTH, TinyWhisper
from tools.train_whisper.tokens import Tokens
from tools.train_whisper.windows import Windows

IGNORED = -100
FRAMES_A_SECOND = 50
NEAR = 6  # timestamps on either side of the true one that count as nearly right
SPREAD = 1.5  # of that, in timestamps of 20 ms


@dataclass(frozen=True, slots=True)
class Stage:
    """So many steps at a learning rate; with `short` windows first, because they are learned sooner."""

    steps: int
    batch: int
    learning_rate: float
    short: bool = False


STAGES = (Stage(5_500, 10, 1.6e-3, short=True), Stage(4_000, 12, 1.3e-3))


@dataclass(frozen=True, slots=True)
class Progress:
    """How a step went: losses, and the shares of tokens and of frames that were right."""

    step: int
    token_loss: float
    time_loss: float
    frame_loss: float
    tokens_right: float
    seconds: float


class _Task:
    """The losses of a batch; owns what is trained beside the model and left out of the export."""

    def __init__(self, model: TinyWhisper, tokens: Tokens) -> None:
        self.model, self._tokens = model, tokens
        self.word_head = nn.Linear(WIDTH, len(tokens.words) + 1)  # which word is spoken in a frame
        offsets = torch.arange(-NEAR, NEAR + 1)
        self._offsets, self._kernel = offsets, torch.softmax(-0.5 * (offsets / SPREAD) ** 2, 0)
        self._used = len(model.used)
        self._log_unused = math.log(VOCABULARY - self._used - TIMESTAMPS)  # so many tokens share one row

    def parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.word_head.parameters()]

    def losses(self, batch: Batch, progress: float) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The whole loss, and its parts with the share of tokens that were right."""
        given, wanted = self._rows(batch)
        with torch.autocast("cpu", torch.bfloat16):
            memory, bias = self.model.encode(batch.mel, batch.layout)
            table = self.model.table()
            hidden, attention = self.model.decode(given, memory, bias, table)
            frames = self.word_head(memory).float()
            counted = wanted >= 0
            logits = (hidden[counted] @ table.t()).float()
        token_loss, time_loss, right = self._writing(logits, wanted[counted])
        frame_loss = self._hearing(batch, frames)
        guide_loss = self._looking(batch, attention)
        whole = token_loss + 0.25 * time_loss + (1 - 0.6 * progress) * frame_loss + 0.15 * guide_loss
        return whole, (token_loss.detach(), time_loss.detach(), frame_loss.detach(), right)

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = [window.targets for window in batch.windows]
        longest = max(len(target.given) for target in targets)
        given = torch.zeros(len(targets), longest, dtype=torch.long)
        wanted = torch.full((len(targets), longest), IGNORED)
        for number, target in enumerate(targets):
            given[number, : len(target.given)] = torch.tensor([self.model.index(t) for t in target.given])
            rows = [self.model.index(t) for t in target.wanted[target.first :]]
            wanted[number, target.first : len(target.wanted)] = torch.tensor(rows)
            wanted[number, target.first + 1] = IGNORED  # the task is always given
        return given, wanted

    def _writing(self, logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        used = self._used
        shared = logits[:, used : used + 1] + self._log_unused
        scores = torch.cat([logits[:, :used], shared, logits[:, used + 1 :]], -1).log_softmax(-1)
        is_time = wanted > used
        words = scores[~is_time]
        token_loss = -words.gather(1, wanted[~is_time][:, None]).mean()
        with torch.no_grad():
            right = (words.argmax(-1) == wanted[~is_time]).float().mean()
        if not is_time.any():
            return token_loss, torch.zeros(()), right
        near = (wanted[is_time][:, None] + self._offsets).clamp(used + 1, scores.shape[1] - 1)
        return token_loss, -(scores[is_time].gather(1, near) * self._kernel).sum(1).mean(), right

    def _hearing(self, batch: Batch, frames: Tensor) -> Tensor:
        words = torch.zeros(frames.shape[:2], dtype=torch.long)
        for number, window in enumerate(batch.windows):
            for word, start, end in (word for sentence in window.sentences for word in sentence.words):
                first = round(start * FRAMES_A_SECOND)
                words[number, first : max(first + 1, round(end * FRAMES_A_SECOND))] = self._tokens.words[word]
        weight = torch.ones(frames.shape[-1])
        weight[0] = 0.3  # most frames have no word in them
        return cross_entropy(frames.flatten(0, 1), words.flatten(), weight=weight)

    def _looking(self, batch: Batch, attention: Tensor) -> Tensor:
        """One head is to look at the word that is written: word times are read from it later."""
        looks = [
            (number, place, int(start * FRAMES_A_SECOND), max(int(start * FRAMES_A_SECOND) + 1, round(end * 50)))
            for number, window in enumerate(batch.windows)
            for place, start, end in window.targets.looks
        ]
        if not looks:
            return torch.zeros(())
        number, place, first, end = torch.tensor(looks).unbind(1)
        shares, frame = attention[number, GUIDED_HEAD[1], place], torch.arange(attention.shape[-1])[None]
        inside = ((frame >= first[:, None]) & (frame < end[:, None])).float()
        goal = inside / inside.sum(1, keepdim=True).clamp(min=1)
        return -(goal * (shares + 1e-5).log()).sum(1).mean()


def train(
    corpus: Sequence[Utterance], tokens: Tokens, stages: Sequence[Stage], seed: int, report: Callable[[Progress], None]
) -> TinyWhisper:
    """Train a model from nothing; the same corpus, stages, seed and libraries give the same weights on one thread.

    Sets torch's global seed. `report` is called after every step.
    """
    torch.manual_seed(seed)
    task = _Task(TinyWhisper(tokens.used), tokens)
    started, done = time.monotonic(), 0
    for number, stage in enumerate(stages):
        windows = Windows(corpus, tokens, seed + number, short=stage.short)
        batches = iter(Batches(windows, stage.batch, seed + number))
        optimizer = _optimizer(task.parameters(), stage)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step, stage=stage: _rate(step, stage))
        for step in range(stage.steps):
            loss, parts = task.losses(next(batches), step / stage.steps)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(task.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            report(Progress(done, *(float(part) for part in parts), time.monotonic() - started))
    return task.model.eval()


def _optimizer(parameters: Sequence[nn.Parameter], stage: Stage) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.02},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), fused=True)


def _rate(step: int, stage: Stage) -> float:
    """A warm-up of a hundred steps, then half a cosine down to a fiftieth."""
    cosine = (1 + math.cos(math.pi * step / stage.steps)) / 2
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * cosine)

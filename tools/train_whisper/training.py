"""The training loop: tokens, times, and which word is spoken in each frame.

Matrices are trained with Muon (K. Jordan and others, 2024, in PyTorch), the rest with AdamW. Until the cool-down (S. Hu
and others, arXiv 2404.06395) the rate does not depend on the end, so a run can be made longer as long as that has not
begun.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tools.train_whisper.batches import AHEAD, Batch, Batches
from tools.train_whisper.corpus import Utterance
from tools.train_whisper.model import GUIDED_HEAD, TIMESTAMPS, VOCABULARY, WIDTH, TinyWhisper
from tools.train_whisper.tokens import Tokens
from tools.train_whisper.windows import Windows

IGNORED = -100
FRAMES_A_SECOND = 50
NEAR = 6  # timestamps on either side of the true one that count as nearly right
FULL = 900  # steps with the whole rate
SPREAD = 1.5  # of that, in timestamps of 20 ms


@dataclass(frozen=True, slots=True)
class Schedule:
    """So many steps of `batch` windows; the first `short` of them with short windows, which are learned sooner.

    The rate falls in the last `cooldown` steps to nothing; `rate` is AdamW's and `matrix_rate` Muon's. Of the default
    one a third was run: see the model card of plugins/audio/tiny/whisper.
    """

    steps: int = 9_000
    short: int = 2_400
    cooldown: int = 1_800
    batch: int = 12
    rate: float = 2e-3
    matrix_rate: float = 1e-2

    def share_at(self, step: int) -> float:
        """The share of the rate: a warm-up of a hundred steps, 1, an inverse square root, a line down to nothing."""
        return min(1.0, (step + 1) / 100, math.sqrt(FULL / (step + 1))) * min(1.0, (self.steps - step) / self.cooldown)


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

    def losses(self, batch: Batch, frame_weight: float) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
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
        whole = token_loss + 0.25 * time_loss + frame_weight * frame_loss + 0.15 * guide_loss
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
        shares = attention[number, GUIDED_HEAD[1], place].float().softmax(-1)
        frame = torch.arange(attention.shape[-1])[None]
        inside = ((frame >= first[:, None]) & (frame < end[:, None])).float()
        goal = inside / inside.sum(1, keepdim=True).clamp(min=1)
        return -(goal * (shares + 1e-5).log()).sum(1).mean()


class Training:
    """A model in training, from nothing; the same corpus, schedule, seed and libraries give the same weights.

    That is so on one thread, with any number of interruptions. Sets torch's global seed.
    """

    def __init__(self, corpus: Sequence[Utterance], tokens: Tokens, schedule: Schedule, seed: int) -> None:
        torch.manual_seed(seed)
        self.schedule, self.done = schedule, 0
        self._task = _Task(TinyWhisper(tokens.used), tokens)
        self._optimizers = _optimizers(self._task.model, self._task.word_head, schedule)
        windows = Windows(corpus, tokens, seed, short=False)
        self._batches = Batches(windows, schedule.batch, seed, schedule.short // AHEAD)

    @property
    def model(self) -> TinyWhisper:
        """The model as it is now."""
        return self._task.model

    def save(self, path: Path) -> None:
        """Write all that is needed to go on; a file that is there is replaced once the new one is whole."""
        parts = [self._task.model, self._task.word_head, *self._optimizers]
        part_written = path.with_suffix(".part")
        torch.save({"done": self.done, "parts": [part.state_dict() for part in parts]}, part_written)
        part_written.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from where `save` was called."""
        saved = torch.load(path, weights_only=True)
        parts = [self._task.model, self._task.word_head, *self._optimizers]
        for part, state in zip(parts, saved["parts"], strict=True):
            part.load_state_dict(state)
        self.done = saved["done"]

    def steps(self, workers: int = 0) -> Iterator[Progress]:
        """Train up to the end of the schedule, a step at a time; `workers` processes draw the windows."""
        started = time.monotonic()
        first, last = self.done // AHEAD, -(-self.schedule.steps // AHEAD)
        groups = DataLoader(
            self._batches, batch_size=None, sampler=range(first, last), num_workers=workers,
            prefetch_factor=3 if workers else None,
        )  # fmt: skip
        batches = (batch for group in groups for batch in group)
        for step, batch in enumerate(batches, first * AHEAD):
            if self.done <= step < self.schedule.steps:
                parts = self._step(batch)
                yield Progress(self.done, *(float(part) for part in parts), time.monotonic() - started)

    def _step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        share = self.schedule.share_at(self.done)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * share
            optimizer.zero_grad(set_to_none=True)
        loss, parts = self._task.losses(batch, 1.0 if self.done < self.schedule.short else 0.5)
        loss.backward()
        nn.utils.clip_grad_norm_(self._task.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self.done += 1
        return parts


def _optimizers(model: TinyWhisper, word_head: nn.Linear, schedule: Schedule) -> list[torch.optim.Optimizer]:
    matrices = [p for layers in (model.encoder, model.decoder) for p in layers.parameters() if p.ndim == 2]
    theirs = {id(p) for p in matrices}
    others = [p for p in (*model.parameters(), *word_head.parameters()) if id(p) not in theirs]
    groups = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": 0.02, "full_lr": schedule.rate},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "full_lr": schedule.rate},
    ]
    adamw = torch.optim.AdamW(groups, lr=schedule.rate, betas=(0.9, 0.98), fused=True)
    muon = torch.optim.Muon(
        [{"params": matrices, "full_lr": schedule.matrix_rate}], lr=schedule.matrix_rate, weight_decay=0.02,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    return [adamw, muon]

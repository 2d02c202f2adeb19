"""Training on cases that are drawn as they are needed: each is seen once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from plugins.generation.tasks import Task
from tools.train_llm.model import Llama, Shape
from tools.train_llm.tokens import END, PAD, chat
from tools.train_llm.world import Case, case

SYSTEMS = ("", "", "You are a helpful assistant.")
BUCKETS = 8  # batches that are drawn at a time and sorted by length: less padding
QUESTION_SHARE = 0.2  # of the loss that is also taken on half of the question's tokens
NO_TARGET = -100


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how fast; `batch` cases a step."""

    steps: int = 7_000
    batch: int = 32
    rate: float = 3e-3
    warm_up: int = 100
    decay: float = 0.05
    seed: int = 1
    bfloat16: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training is."""

    step: int
    loss: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens, and for each what comes next in the answer, and what in the question; NO_TARGET elsewhere."""

    tokens: Tensor
    answers: Tensor
    questions: Tensor


def prompt_of(one: Case, tasks: dict[str, Task]) -> str:
    """The wording of the plugin's own task, filled in by the plugin's own code."""
    wording = tasks[one.task].brief
    if wording is None:
        raise ValueError(f"the task {one.task!r} has no brief wording")
    return wording.filled(wording.prompt, {**tasks[one.task].values, **one.values})


def train(
    tokenizer: Tokenizer, tasks: dict[str, Task], settings: Settings, report: Callable[[Progress], None]
) -> Llama:
    """A model trained from nothing."""
    torch.manual_seed(settings.seed)
    model = Llama(Shape(tokenizer.get_vocab_size()))
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98))
    started = time.monotonic()
    for step, batch in zip(range(settings.steps), _batches(tokenizer, tasks, settings), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * _schedule(step, settings)
        loss = _loss(model, batch, settings)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        report(Progress(step + 1, loss.item(), time.monotonic() - started))
    return model


def _schedule(step: int, settings: Settings) -> float:
    """A share of the rate: a short rise, then half a cosine down to a fiftieth."""
    rise = min(1.0, (step + 1) / settings.warm_up)
    return rise * (0.49 * (1 + math.cos(math.pi * step / settings.steps)) + 0.02)


def _loss(model: Llama, batch: Batch, settings: Settings) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
        hidden = model(batch.tokens)
        answers = batch.answers != NO_TARGET
        questions = (batch.questions != NO_TARGET) & (torch.rand(batch.questions.shape) < 0.5)
        of_answers, of_questions = model.scores(hidden[answers]), model.scores(hidden[questions])
    told = functional.cross_entropy(of_answers.float(), batch.answers[answers])
    return told + QUESTION_SHARE * functional.cross_entropy(of_questions.float(), batch.questions[questions])


def _batches(tokenizer: Tokenizer, tasks: dict[str, Task], settings: Settings) -> Iterator[Batch]:
    random = Random(settings.seed)
    while True:
        drawn = [_example(random, tokenizer, tasks) for _ in range(settings.batch * BUCKETS)]
        drawn.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        chunks = [drawn[at : at + settings.batch] for at in range(0, len(drawn), settings.batch)]
        random.shuffle(chunks)
        yield from map(_packed, chunks)


def _example(random: Random, tokenizer: Tokenizer, tasks: dict[str, Task]) -> tuple[list[int], list[int]]:
    one = case(random)
    question = chat(prompt_of(one, tasks), random.choice(SYSTEMS))
    return _numbers(tokenizer, question), [*_numbers(tokenizer, one.answer), END]


def _numbers(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def _packed(examples: list[tuple[list[int], list[int]]]) -> Batch:
    length = max(len(question) + len(answer) for question, answer in examples)
    tokens = torch.full((len(examples), length), PAD)
    answers = torch.full_like(tokens, NO_TARGET)
    questions = answers.clone()
    for row, (question, answer) in enumerate(examples):
        whole = torch.tensor(question + answer)
        tokens[row, : len(whole)] = whole
        answers[row, len(question) - 1 : len(whole) - 1] = whole[len(question) :]
        questions[row, : len(question) - 1] = whole[1 : len(question)]
    return Batch(tokens, answers, questions)

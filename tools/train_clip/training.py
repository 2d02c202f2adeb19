"""The training loop: contrastive loss with every true pair as a target, attribute heads beside it."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional

from tools.drawn_world import Description, Scene, describe, full_description
from tools.drawn_world.captions import facts
from tools.train_clip.model import AttributeHeads, Normalisation, attribute_labels, build_model
from tools.train_clip.pictures import TrainingSet, augment, shuffled_batches

LARGEST_SCALE = math.log(100)


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how fast to train; the defaults made the bundled model."""

    steps: int = 2000
    batch: int = 128
    learning_rate: float = 2e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    step: int
    contrastive_loss: float
    attribute_loss: float
    seconds: float


def train(
    data: TrainingSet, tokenizer: SimpleTokenizer, settings: Settings, report: Callable[[Progress], None]
) -> CLIP:
    """Train a model from nothing; the same data, settings and number of threads give the same weights.

    Sets torch's global seed. `report` is called after every step.
    """
    torch.manual_seed(settings.seed)
    model, heads = build_model(tokenizer.vocab_size), AttributeHeads()
    optimizer = _optimizer([*model.parameters(), *heads.parameters()], settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    batches = shuffled_batches(len(data.scenes), settings.batch, torch.Generator().manual_seed(settings.seed))
    task, started = _Task(data, tokenizer, settings.seed), time.monotonic()
    for step in range(settings.steps):
        contrastive, attributes = task.losses(model, heads, next(batches))
        loss = contrastive + (1 - 0.7 * step / settings.steps) * attributes
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=LARGEST_SCALE)
        report(Progress(step + 1, contrastive.item(), attributes.item(), time.monotonic() - started))
    return model.eval()


class _Task:
    """Turns indices into losses; owns the random choices of captions and augmentation."""

    def __init__(self, data: TrainingSet, tokenizer: SimpleTokenizer, seed: int) -> None:
        self.data, self.tokenizer = data, tokenizer
        self.labels = torch.tensor([attribute_labels(scene) for scene in data.scenes])
        self.normalise = Normalisation.of_clip()
        self.rng, self.generator = random.Random(f"captions {seed}"), torch.Generator().manual_seed(seed + 1)

    def losses(self, model: CLIP, heads: AttributeHeads, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        scenes = [self.data.scenes[index] for index in indices]
        descriptions = [self._description(scene) for scene in scenes]
        pictures = self.normalise(augment(self.data.pictures[indices], self.generator))
        tokens = self.tokenizer([description.text for description in descriptions])
        with torch.autocast("cpu", torch.bfloat16):
            images = model.encode_image(pictures, normalize=True).float()
            texts = model.encode_text(tokens, normalize=True).float()
        logits = model.logit_scale.exp() * texts @ images.T
        contrastive = contrastive_loss(logits, true_pairs(descriptions, scenes))
        return contrastive, heads.loss(images, self.labels[indices])

    def _description(self, scene: Scene) -> Description:
        return full_description(scene) if self.rng.random() < 0.35 else describe(scene, self.rng)


def true_pairs(descriptions: list[Description], scenes: list[Scene]) -> torch.Tensor:
    """(texts, pictures) floats, 1 where the text is true of the picture: 'a cat' fits more than its own."""
    known = [facts(scene) for scene in scenes]
    return torch.tensor([[float(description.claims <= fact) for fact in known] for description in descriptions])


def contrastive_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric loss (https://arxiv.org/abs/2103.00020) with the target's mass shared by all true pairs."""
    by_text = functional.cross_entropy(logits, truth / truth.sum(1, keepdim=True))
    by_image = functional.cross_entropy(logits.T, truth.T / truth.T.sum(1, keepdim=True))
    return (by_text + by_image) / 2


def _optimizer(parameters: list[torch.nn.Parameter], settings: Settings) -> torch.optim.AdamW:
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


def _rate(step: int, settings: Settings) -> float:
    """A linear warm-up, then half a cosine down to a fiftieth."""
    cosine = (1 + math.cos(math.pi * step / settings.steps)) / 2
    return min(1.0, (step + 1) / settings.warm_up) * (0.02 + 0.98 * cosine)

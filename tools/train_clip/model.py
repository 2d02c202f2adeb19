"""The model: a 64-pixel ModifiedResNet and a three-layer text transformer, as open_clip builds them."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import nn

from tools.drawn_world import COLOURS, POSITIONS, SETTINGS, SUBJECTS, Scene
from tools.drawn_world.scene import MAX_SHAPES

IMAGE_SIZE, CONTEXT_LENGTH, EMBEDDING = 64, 24, 128
IGNORED = -100
ATTRIBUTE_SIZES = (len(SUBJECTS), len(COLOURS), MAX_SHAPES, len(POSITIONS), len(SETTINGS))


def model_config(vocabulary_size: int) -> dict[str, Any]:
    """The `model_cfg` of open_clip; a ViT of the same cost learned far less from so few pictures."""
    return {
        "embed_dim": EMBEDDING,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary_size,
            "width": 128,
            "heads": 4,
            "layers": 3,
        },
    }


def preprocess_config() -> dict[str, Any]:
    """The `preprocess_cfg` of open_clip: shortest side to 64 pixels, centre crop, CLIP's mean and deviation."""
    return {
        "mean": list(OPENAI_DATASET_MEAN),
        "std": list(OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }


def build_model(vocabulary_size: int) -> CLIP:
    """An untrained open_clip model, initialised from torch's global random state."""
    config = model_config(vocabulary_size)
    vision, text = CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"])
    return CLIP(embed_dim=EMBEDDING, vision_cfg=vision, text_cfg=text)


class AttributeHeads(nn.Module):
    """Linear classifiers on the image embedding, one an attribute; they speed training up and are not exported."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING, size) for size in ATTRIBUTE_SIZES)

    def loss(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of (batch, 128) unit embeddings against (batch, 5) labels, -100 where there is none."""
        scaled = embeddings * math.sqrt(EMBEDDING) * 0.7
        losses = [
            nn.functional.cross_entropy(head(scaled), labels[:, column], ignore_index=IGNORED)
            for column, head in enumerate(self.heads)
            if (labels[:, column] != IGNORED).any()
        ]
        return torch.stack(losses).sum() / len(self.heads)


def attribute_labels(scene: Scene) -> list[int]:
    """Class numbers in the order of `ATTRIBUTE_SIZES`."""
    position = IGNORED if scene.position is None else POSITIONS.index(scene.position)
    subject, colour = SUBJECTS.index(scene.subject), COLOURS.index(scene.colour)
    return [subject, colour, scene.count - 1, position, SETTINGS.index(scene.setting)]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What open_clip does to pixel values between 0 and 1, for (batch, 3, height, width)."""

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of_clip(cls) -> "Normalisation":
        return cls(torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1), torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1))

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        return (pictures - self.mean) / self.deviation

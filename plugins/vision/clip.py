"""CLIP: a vector for each picture, in one space with texts, and the names from a list that fit it best.

A score is a share of the belief in that list, so a picture of nothing on it gets names too: compare and rank.
Source: A. Radford et al., Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hooks import BadInput, Device, Embedding, Failure, Image, Labels, ModelSpec, ModelUnavailable, Result, hookimpl
from plugins.vision.clip_catalog import catalog, chosen, is_path

if TYPE_CHECKING:
    from plugins.vision.clip_model import Clip


api = ">=1,<2"


class ClipSettings(BaseModel):
    """Which CLIP, and what it chooses names from."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        "tiny",
        description='"tiny" (bundled), "ViT-B-32" or another architecture of open_clip, or the path of a folder with '
        "open_clip_config.json and open_clip_model.safetensors.",
    )
    pretrained: str | None = Field(
        None,
        description='Weights: a tag of open_clip as "laion2b_s34b_b79k", the path of a .safetensors file, or "" for '
        "random ones, which know nothing and serve benchmarks and tests alone. Without it, those of the catalog.",
    )
    labels: tuple[str, ...] | None = Field(None, description="Names to choose from. Without it, the model's own list.")
    template: str | None = Field(None, description='How a name becomes a text, as "a photo of a {}".')
    top: int = Field(5, ge=0, description="How many names to tell, best first; 0 for none.")
    batch: int = Field(32, ge=1, le=1024, description="How many pictures are looked at together, at most.")
    keep_alive: float = Field(300, ge=0, description="Seconds without work until the model leaves memory; 0: at once.")
    max_megapixels: float = Field(80, gt=0, description="Larger pictures are refused by their header.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @field_validator("template")
    @classmethod
    def _has_one_place(cls, template: str | None) -> str | None:
        if template is not None and template.count("{}") != 1:
            raise ValueError('must hold {} once, where the name goes, as in "a photo of a {}"')
        return template

    @model_validator(mode="after")
    def _has_safe_weights(self) -> Self:
        entry, pretrained = chosen(self.model, None), self.pretrained
        if pretrained is None and not entry.pretrained:
            raise ValueError(f"model {self.model!r} needs pretrained; these do not: {', '.join(catalog())}, a folder")
        if pretrained and entry.folder and pretrained != entry.pretrained:
            raise ValueError(f'model {self.model!r} has its weights with it: leave out pretrained, or set it to ""')
        if pretrained and is_path(pretrained) and not pretrained.endswith(".safetensors"):
            raise ValueError("pretrained must be a .safetensors file: other files can run code when they are opened")
        return self


@hookimpl
def settings_class() -> type[BaseModel]:
    return ClipSettings


@hookimpl
def model_spec(settings: ClipSettings) -> ModelSpec:
    entry = chosen(settings.model, settings.pretrained)
    file = entry.local_file
    return ModelSpec(
        name=entry.name,
        memory_mb=entry.memory_mb,
        batch=settings.batch,
        keep_alive=settings.keep_alive,
        load_time_limit=600 if file or not entry.pretrained else 3600,  # the hub may have to send the weights first
        files=(file,) if file else (),
        imports=("plugins.vision.clip_model",),
    )


@hookimpl
def load(device: Device, settings: ClipSettings) -> Clip:
    entry = chosen(settings.model, settings.pretrained)
    # Waiting threads of PyTorch spin otherwise, which made work ten times slower where others use the cores as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from plugins.vision import clip_model

        clip = clip_model.load(entry, device, settings.threads or device.threads)
    except ImportError as error:
        raise ModelUnavailable(
            f"{entry.name} needs the Python package {error.name}.", "Install it: pip install 'sensorium[vision]'."
        ) from error
    clip.names = entry.labels if settings.labels is None else settings.labels
    clip.template = settings.template or entry.template
    return clip


@hookimpl
def on_image(events: list[Image], model: Clip, settings: ClipSettings) -> Iterator[Result | Failure]:
    for event, vector in model.look(events, settings.max_megapixels):
        if isinstance(vector, BadInput):
            yield event.failure(str(vector))
            continue
        yield event.result(Embedding(space=model.space, vector=vector.numpy()))
        if model.names and settings.top:
            yield event.result(Labels(space=model.space, labels=model.best_names(vector, settings.top)))


@hookimpl
def embed_query(texts: list[str], model: Clip) -> list[Embedding]:
    return [Embedding(space=model.space, vector=vector.numpy()) for vector in model.text_vectors(texts)]

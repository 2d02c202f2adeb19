"""What the families whose voice is a model have in common; cheap to import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hooks import ModelSpec, ModelUnavailable
from plugins.tts.catalog import catalog
from plugins.tts.settings import NeuralSettings


def spec_of(family: str, settings: NeuralSettings, imports: str) -> ModelSpec:
    """What the host is told of a family's model."""
    return ModelSpec(
        name=f"{family}/{settings.model.name}",
        memory_mb=catalog()[family].memory_mb,
        keep_alive=settings.keep_alive,
        time_limit=900,  # without a step forward: a step is a paragraph
        load_time_limit=1200,
        files=tuple(path for path in files_of(settings.model) if path.is_file()),
        imports=(imports,),
        python=settings.python,
    )


def files_of(model: Path) -> Iterable[Path]:
    """The files of a model that is a file with its configuration beside it, or a folder."""
    if model.is_dir():
        return sorted(path for path in model.iterdir() if path.suffix in (".json", ".pth", ".onnx", ".safetensors"))
    return (model, model.with_name(f"{model.name}.json"))


def missing(package: str, extra: str) -> ModelUnavailable:
    """What is said where a family's package is not installed."""
    return ModelUnavailable(
        f"This voice needs the Python package {package}.",
        f"Install it: pip install 'sensorium[{extra},tts]', or name an interpreter that has it: "
        f"[plugins.{extra}] python.",
    )

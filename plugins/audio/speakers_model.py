"""A pipeline of pyannote.audio, from a local folder. Imports PyTorch: for workers only."""

from __future__ import annotations

import importlib
import os
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["PYANNOTE_METRICS_ENABLED"] = "false"  # it would tell its makers of every file
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it decodes no files here, and says at length with what it could
    from pyannote.audio.core.model import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.pipelines import SpeakerDiarization

from hooks import Audio, BadInput, Context, Device, ModelUnavailable, SpeakerTurns, Turn
from plugins.audio.recording import RATE, opened
from plugins.audio.speakers import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from plugins.audio.speakers import SpeakersSettings

# What a checkpoint may hold beside numbers.
DATA = [Problem, Resolution, Specifications, torch.torch_version.TorchVersion]
PLAIN = (
    "segmentation_step", "segmentation_batch_size", "embedding_exclude_overlap", "embedding_batch_size", "clustering",
)  # fmt: skip
STEPS = ("segmentation", "speaker_counting", "embeddings", "discrete_diarization")


class Speakers:
    """A loaded pipeline."""

    def __init__(self, pipeline: SpeakerDiarization, settings: SpeakersSettings) -> None:
        self._pipeline = pipeline
        self._settings = settings

    def turns(self, event: Audio, context: Context) -> SpeakerTurns:
        """Who speaks when. BadInput says why the recording cannot be listened to."""
        samples = self._samples(event)
        if not samples.any():
            return SpeakerTurns()
        known = {"min_speakers": self._settings.min_speakers, "max_speakers": self._settings.max_speakers}
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE}
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of windows with too little speech for a statistic
            found = self._pipeline(file, hook=_Steps(event, context), **known)
        tracks = found.speaker_diarization.itertracks(yield_label=True)
        turns = [Turn(start=round(span.start, 3), end=round(span.end, 3), speaker=name) for span, _, name in tracks]
        return SpeakerTurns(turns=tuple(sorted(turns, key=lambda turn: (turn.start, turn.end))))

    def _samples(self, event: Audio) -> np.ndarray:
        most, heard = 3600 * self._settings.max_hours, 0
        parts = []
        with opened(event) as recording:
            for block in recording.blocks():
                heard += len(block)
                if max(heard / RATE, recording.seconds) > most:
                    raise BadInput(
                        f"The recording is longer than {self._settings.max_hours:g} hours.",
                        "Cut it, or raise max_hours in [plugins.speakers] if there is memory for it.",
                    )
                parts.append(block)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class _Steps:
    """Tells how far the pipeline is, by its steps."""

    def __init__(self, event: Audio, context: Context) -> None:
        self._event, self._context = event, context

    def __call__(self, step: str, *_: Any, total: int | None = None, completed: int | None = None, **__: Any) -> None:
        part = (completed or 0) / total if total else 1.0
        place = STEPS.index(step) if step in STEPS else 0
        self._context.progress(self._event, min(1.0, (place + part) / len(STEPS)), step.replace("_", " "))


def load(settings: SpeakersSettings, device: Device) -> Speakers:
    """The pipeline in a folder, on a device; ModelUnavailable says what is missing or unfit."""
    torch.set_num_threads(settings.threads or device.threads)
    folder = settings.model
    config = yaml.safe_load((folder / CONFIG).read_text())
    try:
        kind, params = config["pipeline"]["name"], dict(config["pipeline"].get("params", {}))
    except (TypeError, KeyError) as error:
        raise _unfit(folder, "it does not say which pipeline it is") from error
    if kind.rpartition(".")[2] != SpeakerDiarization.__name__:
        raise _unfit(folder, f"it is of {kind}, not of {SpeakerDiarization.__name__}")
    pipeline = SpeakerDiarization(
        segmentation=_model(folder, params.get("segmentation")),
        embedding=_model(folder, params.get("embedding")),
        plda=_plda(folder, params),
        **{name: params[name] for name in PLAIN if name in params},
    )
    pipeline.instantiate(config.get("params", {}))
    return Speakers(pipeline.to(torch.device(device.torch)), settings)


def _model(folder: Path, named: Any) -> Model:
    path = _place(folder, named)
    path = path / WEIGHTS if path.is_dir() else path
    with torch.serialization.safe_globals(DATA):
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            about = checkpoint["pyannote.audio"]["architecture"]
            if not about["module"].startswith("pyannote.audio.models."):
                raise _unfit(path, f"it is of {about['module']}, which is no model of pyannote.audio")
            architecture = getattr(importlib.import_module(about["module"]), about["class"])
            return architecture.load_from_checkpoint(path, map_location="cpu", strict=False, weights_only=True).eval()
        except (pickle.UnpicklingError, KeyError, TypeError, RuntimeError) as error:
            raise _unfit(path, f"it is no checkpoint of numbers alone: {str(error).splitlines()[0]}") from error


def _plda(folder: Path, params: dict[str, Any]) -> PLDA:
    if "plda" in params:
        return PLDA.from_pretrained(_place(folder, params["plda"]))
    if params.get("clustering") == "AgglomerativeClustering":
        return _Unused()
    raise _unfit(folder, "it names no plda")


class _Unused(PLDA):
    """Pipelines before 4.0 have none and need none."""

    def __init__(self) -> None:
        pass


def _place(folder: Path, named: Any) -> Path:
    """Where a part of the pipeline lies: `$model/segmentation`, or a path."""
    path = folder / str(named).removeprefix("$model/")
    if named is None or not path.exists():
        raise ModelUnavailable(
            f"The pipeline in {folder} speaks of {named!r}, which is not there.",
            f"Put it into {folder}, and its name there into {CONFIG}: nothing is fetched from the hub by itself.",
        )
    return path


def _unfit(path: Path, why: str) -> ModelUnavailable:
    return ModelUnavailable(f"{path} cannot be used: {why}.", "Take a pipeline as pyannote.audio 4 publishes them.")

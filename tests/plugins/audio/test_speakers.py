"""Turns come from a pipeline in a local folder, read as numbers; what is missing or unfit is named."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from hooks import Failure, ModelUnavailable, SpeakerTurns
from plugins import audio
from plugins.audio import speakers
from plugins.audio.speakers import SpeakersSettings
from tests.plugins.audio.random_models import write_pipeline
from tests.worker_client import CPU
from tools.spoken_world import RATE, noise


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline") / "community")


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A pipeline that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "community"))


def hiss(seconds: float) -> np.ndarray:
    return 0.1 * noise(seconds, np.random.default_rng(1))


def loaded(folder: Path, **settings):
    return speakers.load(device=CPU, settings=SpeakersSettings(model=folder, **settings))


def heard(room, model, samples: np.ndarray):
    event = room.event(room.write(samples))
    (found,) = speakers.on_audio([event], model, room.context())
    return found


def change(folder: Path, **params) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["pipeline"]["params"] |= params
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_turns_have_times_within_the_recording_and_a_name_for_each_voice(room, made):
    found = heard(room, loaded(made), hiss(12))
    assert isinstance(found.data, SpeakerTurns)
    assert found.data.turns
    for turn in found.data.turns:
        assert 0 <= turn.start < turn.end <= 13
        assert turn.speaker.startswith("SPEAKER_")
    assert [turn.start for turn in found.data.turns] == sorted(turn.start for turn in found.data.turns)
    fractions = [fraction for fraction, _ in room.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_in_silence_nobody_speaks(room, made):
    assert heard(room, loaded(made), np.zeros(3 * RATE, np.float32)).data == SpeakerTurns()


def test_a_pipeline_from_before_4_without_plda_works(room, tmp_path):
    folder = write_pipeline(tmp_path / "older", clustering="AgglomerativeClustering")
    assert heard(room, loaded(folder), hiss(6)).data.turns


def test_a_recording_beyond_the_limit_is_refused_and_the_next_one_heard(room, made):
    model = loaded(made, max_hours=0.001)
    long = heard(room, model, hiss(5))
    assert isinstance(long, Failure)
    assert "longer than 0.001 hours" in long.reason
    assert isinstance(heard(room, model, np.zeros(RATE, np.float32)).data, SpeakerTurns)


def test_a_folder_without_a_pipeline_says_what_to_fetch(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"config\.yaml is missing\. Accept the terms of pyannote/"):
        loaded(tmp_path)


def test_a_part_that_is_not_there_is_named_and_not_fetched(folder):
    change(folder, embedding="pyannote/wespeaker-voxceleb-resnet34-LM")
    with pytest.raises(ModelUnavailable, match="'pyannote/wespeaker-voxceleb-resnet34-LM', which is not there"):
        loaded(folder)


@pytest.mark.parametrize(
    ("name", "why"), [("pyannote.audio.pipelines.VoiceActivityDetection", "not of SpeakerDiarization")]
)
def test_another_pipeline_is_refused(folder, name, why):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["pipeline"]["name"] = name
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ModelUnavailable, match=why):
        loaded(folder)


class _Runs:
    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_weights_that_would_run_code_are_refused_and_run_nothing(folder, tmp_path):
    evil = _Runs()
    evil.path = str(tmp_path / "ran")
    torch.save({"state_dict": evil}, folder / "segmentation" / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="no checkpoint of numbers alone"):
        loaded(folder)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(folder / "segmentation" / "pytorch_model.bin", weights_only=True)


def test_a_model_that_is_none_of_pyannote_is_refused(folder):
    path = folder / "segmentation" / "pytorch_model.bin"
    about = {"architecture": {"module": "os", "class": "system"}}
    torch.save({"pyannote.audio": about, "state_dict": {}}, path)
    with pytest.raises(ModelUnavailable, match="it is of os, which is no model of pyannote"):
        loaded(folder)


def test_a_package_that_is_missing_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "plugins.audio.speakers_model", None)
    monkeypatch.delattr(audio, "speakers_model", raising=False)
    with pytest.raises(ModelUnavailable, match=r"pip install 'sensorium\[speakers\]'"):
        loaded(folder)


def test_nothing_is_told_to_the_makers_of_the_package(made):
    loaded(made)
    from pyannote.audio.telemetry.metrics import is_metrics_enabled

    assert not is_metrics_enabled()


def test_another_interpreter_and_the_files_are_told_to_the_host(made):
    spec = speakers.model_spec(SpeakersSettings(model=made, python=Path("/opt/pyannote/bin/python")))
    assert spec.python == Path("/opt/pyannote/bin/python")
    assert {path.parent.name for path in spec.files} == {made.name, "segmentation", "embedding"}
    assert all(path.is_file() for path in spec.files)


def test_a_pipeline_has_to_be_named():
    with pytest.raises(ValidationError, match="model"):
        SpeakersSettings()

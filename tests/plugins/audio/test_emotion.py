"""Moods come from a classifier in a local folder; where nothing sounds there are none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hooks import Emotion, ModelUnavailable
from plugins import audio
from plugins.audio import emotion
from plugins.audio.emotion import EmotionSettings
from tests.plugins.audio.random_models import EMOTIONS, write_classifier
from tests.worker_client import CPU
from tools.spoken_world import RATE, noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("classifier") / "moods")


def hiss(seconds: float) -> np.ndarray:
    return 0.1 * noise(seconds, np.random.default_rng(1))


def loaded(folder: Path, **settings):
    return emotion.load(device=CPU, settings=EmotionSettings(model=folder, **settings))


def heard(room, model, samples: np.ndarray) -> Emotion:
    (found,) = emotion.on_audio([room.event(room.write(samples))], model, room.context())
    return found.data


def test_each_window_has_the_models_names_with_their_shares(room, folder):
    found = heard(room, loaded(folder, window=4), hiss(10))
    assert [(mood.start, mood.end) for mood in found.moods] == [(0, 4), (4, 8), (8, 10)]
    for labels in (found.labels, *(mood.labels for mood in found.moods)):
        assert {label.name for label in labels} == set(EMOTIONS)
        assert sum(label.score for label in labels) == pytest.approx(1, abs=1e-3)
        assert [label.score for label in labels] == sorted((label.score for label in labels), reverse=True)
    assert room.progress[-1][0] == 1.0


def test_windows_are_judged_alike_alone_and_together(room, folder):
    samples = hiss(8)
    together, alone = (heard(room, loaded(folder, window=2, batch=batch), samples) for batch in (4, 1))
    for one, other in zip(together.moods, alone.moods, strict=True):
        assert [label.name for label in one.labels] == [label.name for label in other.labels]


def test_silence_has_no_mood(room, folder):
    quiet = np.zeros(8 * RATE, np.float32)
    assert heard(room, loaded(folder), quiet) == Emotion()
    found = heard(room, loaded(folder, window=4), np.concatenate([quiet, hiss(4)]))
    assert [(mood.start, mood.end) for mood in found.moods] == [(8, 12)]


def test_only_so_many_names_are_told(room, folder):
    found = heard(room, loaded(folder, top=1), hiss(3))
    assert [len(mood.labels) for mood in found.moods] == [1]


def test_a_folder_without_a_classifier_says_what_is_missing(tmp_path, folder):
    with pytest.raises(ModelUnavailable, match=r"preprocessor_config\.json, model\.safetensors is missing"):
        loaded(tmp_path)


def test_a_file_that_is_no_classifier_is_refused(tmp_path, folder):
    for name in emotion.FILES:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelUnavailable, match="cannot be used"):
        loaded(tmp_path)


def test_a_model_that_does_not_choose_a_name_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="it does regression, and not the choice of one name"):
        loaded(write_classifier(tmp_path / "degrees", problem_type="regression"))


def test_a_package_that_is_missing_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "plugins.audio.emotion_model", None)
    monkeypatch.delattr(audio, "emotion_model", raising=False)
    with pytest.raises(ModelUnavailable, match=r"pip install 'sensorium\[emotion\]'"):
        loaded(folder)


def test_the_files_and_another_interpreter_are_told_to_the_host(folder):
    spec = emotion.model_spec(EmotionSettings(model=folder, python=Path("/opt/moods/bin/python")))
    assert spec.python == Path("/opt/moods/bin/python")
    assert all(path.is_file() for path in spec.files)

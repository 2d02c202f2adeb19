"""Recordings are whole WAV files at one loudness that say what they are."""

from __future__ import annotations

import wave

import numpy as np
import pytest

from hooks import BadInput
from plugins.tts import sound
from plugins.tts.sound import Loudness, Wav


def tone(rate: int, seconds: float, amplitude: float = 1.0, frequency: float = 997.0) -> np.ndarray:
    moments = np.arange(round(rate * seconds)) / rate
    return (amplitude * 32767 * np.sin(2 * np.pi * frequency * moments)).astype(np.int16)


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 48_000])
def test_a_full_tone_has_the_loudness_that_the_recommendation_states(rate):
    meter = Loudness(rate)
    for block in np.array_split(tone(rate, 4), 37):
        meter.add(block)
    assert meter.integrated == pytest.approx(-3.01, abs=0.05)
    assert meter.peak == pytest.approx(1.0, abs=0.001)


def test_pauses_do_not_count_and_silence_has_none():
    meter = Loudness(16_000)
    meter.add(tone(16_000, 3, 0.1))
    before = meter.integrated
    meter.add(np.zeros(160_000, np.int16))
    assert meter.integrated == pytest.approx(before, abs=0.4)
    silent = Loudness(16_000)
    silent.add(np.zeros(50_000, np.int16))
    assert silent.integrated is None


def test_a_recording_is_brought_to_its_loudness_in_place(tmp_path):
    with Wav(tmp_path / "a.wav", 16_000, {"INAM": "odd", "IART": "somebody"}) as wav:
        for _ in range(3):
            wav.write(tone(16_000, 1, 0.02))
            wav.silence(0.5)
        assert wav.finish(-19) == pytest.approx(-19, abs=0.1)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == wav.samples == 72_000
        samples = np.frombuffer(file.readframes(72_000), "<i2")
    again = Loudness(16_000)
    again.add(samples)
    assert again.integrated == pytest.approx(-19, abs=0.2)


def test_no_peak_is_cut_off_for_it(tmp_path):
    clicks = np.zeros(32_000, np.int16)
    clicks[::4000] = 20_000
    with Wav(tmp_path / "a.wav", 16_000, {}) as wav:
        wav.write(clicks)
        reached = wav.finish(-10)
    assert reached < -10
    assert np.abs(np.frombuffer((tmp_path / "a.wav").read_bytes()[-64_000:], "<i2")).max() <= 32768 * sound.PEAK + 1


def test_it_says_in_its_info_chunk_that_it_is_synthetic(tmp_path):
    with Wav(tmp_path / "a.wav", 16_000, {"IART": "a voice"}) as wav:
        wav.write(tone(16_000, 1))
        wav.finish(-19)
    head = (tmp_path / "a.wav").read_bytes()[:300]
    assert b"IART\x08\x00\x00\x00a voice\0" in head
    assert b"ICMT" in head
    assert sound.NOTE.encode() in head


def test_what_no_wav_file_can_hold_is_refused_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "LARGEST", 10_000)
    with pytest.raises(BadInput, match="too long for one WAV"), Wav(tmp_path / "a.wav", 16_000, {}) as wav:
        wav.write(tone(16_000, 1))
    assert not (tmp_path / "a.wav").exists()


def test_numbers_that_are_none_become_silence(tmp_path):
    with Wav(tmp_path / "a.wav", 16_000, {}) as wav:
        wav.write(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32))
        assert wav.samples == 4

"""Whisper tells what is said, in which language and when, and nothing where nothing is said."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from hooks import ModelUnavailable
from plugins.audio import hearing, whisper
from plugins.audio.whisper import WhisperSettings
from plugins.audio.whisper_catalog import HERE, catalog
from tests.plugins.audio.conftest import SENTENCES
from tests.worker_client import CPU
from tools.spoken_world import RATE, Take, Voice, noise, silence, write_recording
from tools.train_whisper.evaluate import sounds

NO_WORDS = dict(sounds(np.random.default_rng(3)))


def heard(room, model, path):
    (found,) = room.hear(model, path)
    return found.data


def with_settings(model, **settings):
    """The same model in memory, listening otherwise."""
    chosen = WhisperSettings(**settings)
    other = hearing.load(chosen, CPU)
    other._whisper._model = model._whisper._model
    return other


# --- what is said ---


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".m4a", ".flac"])
def test_sentences_are_heard_with_their_times_from_any_format(suffix, room, take, bundled):
    transcript = heard(room, bundled, write_recording(room.folder / f"take{suffix}", take.samples))
    assert [segment.text for segment in transcript.segments] == list(SENTENCES)
    for segment, said in zip(transcript.segments, take.said, strict=True):
        assert abs(segment.start - said.start) < 0.3
        assert abs(segment.end - said.end) < 0.3
        assert segment.average_log_probability < 0
        assert not segment.low_confidence
    assert transcript.language == "en"
    assert transcript.language_probability > 0.9
    assert transcript.duration == pytest.approx(take.seconds, abs=0.1)
    assert transcript.text == "\n".join(SENTENCES)


@pytest.mark.parametrize(
    ("language", "voice", "text"),
    [
        ("de", Voice("de+f4", 160), "schalte das licht in der küche an"),
        ("fr", Voice("fr+m6", 140), "éteins la lumière du jardin"),
        ("en", Voice("en-gb-x-rp+steph2", 180), "good morning everyone"),
    ],
)
def test_the_language_is_found_out(language, voice, text, room, say, bundled):
    transcript = heard(room, bundled, room.write(Take.of([0.3, say(text, voice), 0.5]).samples))
    assert (transcript.language, transcript.text) == (language, text)


def test_a_language_that_is_set_is_not_found_out(room, take, bundled):
    model = with_settings(bundled, language="de")
    transcript = heard(room, model, room.write(take.samples))
    assert (transcript.language, transcript.language_probability) == ("de", 1.0)


def test_words_have_times_of_their_own_where_they_are_asked_for(room, take, bundled):
    transcript = heard(room, with_settings(bundled, words=True), room.write(take.samples))
    words = [word for segment in transcript.segments for word in segment.words]
    assert [word.text for word in words][:5] == SENTENCES[0].split()
    assert all(0 <= word.start <= word.end <= take.seconds for word in words)
    assert all(0 <= word.probability <= 1 for word in words)


def test_segments_below_the_threshold_are_marked_as_doubtful(room, take, bundled):
    path = room.write(take.samples)
    doubtful = heard(room, with_settings(bundled, low_confidence=0.0), path)
    assert all(segment.low_confidence for segment in doubtful.segments)


def test_windows_can_be_decoded_together(room, say, bundled):
    parts = [part for text in SENTENCES for part in (say(text), 6.0)]
    transcript = heard(room, with_settings(bundled, batch=4), room.write(Take.of([0.4, *parts]).samples))
    assert [segment.text for segment in transcript.segments] == list(SENTENCES)


def test_a_segment_that_follows_a_pause_in_its_window_begins_when_it_is_said(room, say, bundled):
    take = Take.of([0.4, *(part for text in SENTENCES for part in (say(text), 4.5))])
    model = with_settings(bundled, together=30, batch=1)
    segments = heard(room, model, room.write(take.samples)).segments
    assert [segment.text for segment in segments] == list(SENTENCES)
    assert all(abs(segment.start - said.start) < 0.6 for segment, said in zip(segments, take.said, strict=True))


# --- where nothing is said ---


@pytest.mark.parametrize("name", NO_WORDS)
def test_nothing_is_heard_where_nobody_speaks(name, room, bundled):
    transcript = heard(room, bundled, room.write(np.asarray(NO_WORDS[name])))
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), "")


def test_speech_after_a_long_silence_keeps_its_time(room, say, bundled):
    take = Take.of([40.0, say("open the garden door"), 0.5])
    (segment,) = heard(room, bundled, room.write(take.samples)).segments
    assert segment.text == "open the garden door"
    assert abs(segment.start - take.said[0].start) < 0.3


def test_a_batch_of_recordings_gives_a_verdict_on_each(room, take, bundled):
    torn = room.folder / "torn.wav"
    torn.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt nothing that makes sense")
    found = room.hear(bundled, room.write(take.samples), torn, room.write(silence(1), "silent.wav"))
    assert [type(one).__name__ for one in found] == ["Result", "Failure", "Result"]


# --- long recordings ---


@pytest.fixture(scope="module")
def minutes(say) -> Take:
    """Two minutes and a half with a sentence every ten seconds."""
    texts = [SENTENCES[number % 3] for number in range(15)]
    return Take.of([part for text in texts for part in (2.0, say(text), 7.0)])


def test_a_long_recording_is_heard_in_pieces_as_if_at_once(room, minutes, bundled):
    transcript = heard(room, with_settings(bundled, piece_seconds=45), room.write(minutes.samples))
    assert [segment.text for segment in transcript.segments] == [said.text for said in minutes.said]
    assert all(
        abs(segment.start - said.start) < 0.3 and abs(segment.end - said.end) < 0.3
        for segment, said in zip(transcript.segments, minutes.said, strict=True)
    )


def test_progress_grows_with_the_sound_that_was_heard(room, minutes, bundled):
    heard(room, with_settings(bundled, piece_seconds=45), room.write(minutes.samples))
    fractions = [fraction for fraction, _ in room.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert any(0.2 < fraction < 0.8 for fraction in fractions)
    assert room.progress[-1][1] == "0:02:36 of 0:02:36, about 0:00:00 left"


class Cut(Exception):
    """The power goes."""


def test_work_that_was_cut_off_goes_on_after_the_last_finished_piece(room, minutes, bundled, monkeypatch):
    model = with_settings(bundled, piece_seconds=45)
    whole = heard(room, model, room.write(minutes.samples))
    path = room.write(minutes.samples, "again.wav")
    hear, heard_from = model._whisper.hear, []

    def until_the_power_goes(piece, *rest):
        if len(heard_from) == most:
            raise Cut
        heard_from.append(piece.start)
        return hear(piece, *rest)

    monkeypatch.setattr(model._whisper, "hear", until_the_power_goes)
    most = 2
    with pytest.raises(Cut):
        room.hear(model, path)
    most = 100
    again = heard(room, model, path)
    assert heard_from == sorted(set(heard_from)), "a piece was heard twice"
    assert again.segments == whole.segments
    assert again.duration == whole.duration


def test_a_recording_over_the_limit_is_refused_with_what_to_do(room, bundled):
    (failure,) = room.hear(with_settings(bundled, max_hours=0.001), room.write(silence(5)))
    assert "longer than 0.001 hours" in failure.reason
    assert "max_hours" in failure.reason


# --- which model ---


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "bse"}, "these are: bundled, tiny, base"),
        ({"translate": True}, "cannot translate"),
        ({"language": "sv"}, "knows en, de, fr and not 'sv'"),
        ({"language": "English"}, "pattern"),
        ({"piece_seconds": 10}, "45"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(settings, said):
    with pytest.raises(ValidationError, match=said):
        WhisperSettings(**settings)


def test_the_catalog_says_what_each_model_costs():
    for name, entry in catalog().items():
        assert entry.about, name
        assert 0 < entry.size_mb < entry.memory_mb, name
        assert bool(entry.folder) != bool(entry.repository), name


def test_a_model_that_is_not_here_says_what_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    settings = WhisperSettings(model="base")
    assert whisper.model_spec(settings=settings).files == ()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable) as caught:
        whisper.load(device=CPU, settings=settings)
    assert "Systran/faster-whisper-base is not on this machine" in str(caught.value)
    assert "`hf download Systran/faster-whisper-base`" in caught.value.hint
    assert str(tmp_path) in caught.value.hint
    assert 'model = "FOLDER"' in caught.value.hint


def test_a_folder_that_is_no_model_says_which_file_is_missing(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"lacks config\.json, model\.bin, tokenizer\.json"):
        whisper.load(device=CPU, settings=WhisperSettings(model=f"{tmp_path}/"))


def test_a_damaged_file_is_named_before_it_is_loaded(tmp_path):
    for file in (HERE / "tiny" / "whisper").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "model.bin").read_bytes())
    weights[100_000] ^= 1
    (tmp_path / "model.bin").write_bytes(weights)
    with pytest.raises(ModelUnavailable, match=r"model\.bin is damaged"):
        whisper.load(device=CPU, settings=WhisperSettings(model=str(tmp_path)))


def test_the_same_model_from_a_folder_of_ones_own_hears_the_same(room, take, tmp_path):
    for file in (HERE / "tiny" / "whisper").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = WhisperSettings(model=str(tmp_path), batch=1, beam=1, temperatures=(0.0,))
    model = whisper.load(device=CPU, settings=settings)
    assert heard(room, model, room.write(take.samples)).text == "\n".join(SENTENCES)


def test_noise_does_not_hide_what_is_said(room, take, bundled):
    noisy = take.samples + 0.003 * noise(take.seconds, np.random.default_rng(0))[: len(take.samples)]
    assert heard(room, bundled, room.write(noisy)).text == "\n".join(SENTENCES)


def test_recordings_that_the_host_does_not_know_are_told_by_their_first_bytes():
    assert whisper.identify(head=b"caff\x00\x01") == ("audio", "audio/x-caf")
    assert whisper.identify(head=b"hello") is None


def test_eight_samples_a_second_are_no_sound(room, bundled):
    from tools.spoken_world import write_wav

    (failure,) = room.hear(bundled, write_wav(room.folder / "slow.wav", silence(1), rate=8))
    assert "8 samples a second" in failure.reason
    assert RATE == 16_000

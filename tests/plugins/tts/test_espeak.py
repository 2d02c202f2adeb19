"""espeak-ng speaks real words, which the bundled Whisper hears; what cannot be spoken has its verdict."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from hooks import ModelUnavailable, Text
from plugins.audio import whisper
from plugins.audio.whisper import WhisperSettings
from plugins.programs import find_ffmpeg
from plugins.tts import espeak
from plugins.tts.catalog import catalog
from plugins.tts.espeak import EspeakSettings
from plugins.tts.sound import NOTE
from tests.plugins.audio.conftest import Room
from tests.worker_client import CPU, WorkerClient

SAID = {
    "turn on the kitchen light": "en",
    "what is the weather today": "en",
    "schalte das licht in der küche an": "de",
    "bonjour tout le monde": "fr",
}


@pytest.fixture(scope="module")
def speaker():
    return espeak.load(settings=EspeakSettings())


def test_what_is_said_is_heard(desk, speaker, samples_of, tmp_path):
    ears, room = whisper.load(device=CPU, settings=WhisperSettings()), Room(tmp_path)
    for text, language in SAID.items():
        speech = desk.speech(speaker, text, language=language)
        assert speech.language == language
        assert 1 < speech.duration < 4
        assert np.abs(samples_of(speech)).max() > 3000
        [heard] = room.hear(ears, speech.file)
        assert (heard.data.text, heard.data.language) == (text, language)


def test_the_language_is_told_from_the_text_and_the_voice_follows(desk, speaker):
    assert desk.speech(speaker, "Das ist nicht ein Test und wir sind hier.").voice == "espeak-ng de"
    assert desk.speech(speaker, "This is what we have for you.").voice == "espeak-ng en-us"
    assert desk.speech(speaker, "Das ist es nicht.", voice="en-gb+f3").voice == "espeak-ng en-gb+f3"


def test_speed_and_pitch_are_heard(desk, speaker, samples_of):
    text = "one two three four five six seven eight nine"
    usual, fast = desk.speech(speaker, text, voice="en"), desk.speech(speaker, text, voice="en", speed=2.0)
    assert fast.duration < 0.65 * usual.duration
    high = desk.speech(speaker, text, voice="en", pitch=7.0)
    assert pitch_of(samples_of(high)) > 1.25 * pitch_of(samples_of(usual))


def pitch_of(samples: np.ndarray, rate: int = 22_050) -> float:
    """The median pitch in Hz: where the autocorrelation of what is loud is highest."""
    frames = samples[: len(samples) // 1024 * 1024].reshape(-1, 1024).astype(float)
    loud = frames[frames.std(axis=1) > 0.5 * samples.std()]
    found = np.fft.irfft(np.abs(np.fft.rfft(loud, 4096)) ** 2)[:, : rate // 60]
    return float(np.median(rate / (found[:, rate // 400 :].argmax(axis=1) + rate // 400)))


def test_all_recordings_are_equally_loud(desk, speaker):
    found = [desk.speech(speaker, text, voice=voice).loudness for text in SAID for voice in ("en", "de+f3")]
    assert max(found) == -19
    assert min(found) > -21, "some are held back by their peaks"


def test_ssml_has_its_pauses_and_its_languages(desk, speaker):
    short = desk.speech(speaker, "<speak>one<break time='100ms'/>two</speak>")
    long = desk.speech(speaker, "<speak>one<break time='2100ms'/>two</speak>")
    assert long.duration - short.duration == pytest.approx(2, abs=0.05)
    assert desk.speech(speaker, "<speak>one <lang xml:lang='de'>zwei</lang></speak>").duration > 0.5
    assert desk.speech(speaker, "<speak><say-as interpret-as='characters'>abcde</say-as></speak>").duration > 1


def test_the_first_sentence_can_be_heard_while_the_rest_is_spoken(desk, speaker):
    speech = desk.speech(speaker, "The first sentence is short.\n\n" + "A sentence that is somewhat longer. " * 400)
    first, *others = desk.progress
    assert "first sentence can be heard" in first[1]
    assert [fraction for fraction, _ in desk.progress] == sorted(fraction for fraction, _ in desk.progress)
    assert others[-1][0] == pytest.approx(1, abs=0.01)
    assert speech.first_audio_ms < speech.processing_time_ms


@pytest.mark.parametrize("kind", ["mp3", "opus"])
def test_other_formats_are_written_by_ffmpeg_and_marked_as_synthetic(desk, speaker, kind):
    speech = desk.speech(speaker, "good morning everyone", format=kind)
    assert (speech.suffix, speech.file.suffix) == (f".{kind}", f".{kind}")
    assert [path.name for path in (desk.folder / "scratch").iterdir()] == [speech.file.name]
    told = subprocess.run([find_ffmpeg(None), "-i", speech.file], capture_output=True, text=True, check=False).stderr
    assert NOTE in told
    assert {"mp3": "Audio: mp3", "opus": "Audio: opus"}[kind] in told


@pytest.mark.parametrize(
    ("text", "meta", "said"),
    [
        ("", {}, "nothing in it that could be said"),
        (" \n\t\n ", {}, "nothing in it"),
        ("🎉🎉👍🏽", {}, "nothing in it"),
        ("\x00\x01\x02\x07\x1b", {}, "nothing in it"),
        ("<speak></speak>", {}, "nothing in it"),
        ("<speak><break time='1s'/></speak>", {}, "nothing in it"),
        ("<speak>one <lang xml:lang='xx-yy'>two</lang></speak>", {}, "no language of espeak-ng 'xx-yy'"),
        ("one", {"language": "tlh-klingon"}, "no language of espeak-ng 'tlh-klingon'"),
        ("one", {"voice": "../../etc/passwd"}, "no voice of espeak-ng"),
        ("one", {"voice": "en\0de"}, "no voice of espeak-ng"),
        ("one", {"speed": 99}, "speed: Input should be less than or equal to 4"),
        ("one", {"format": "exe"}, "format: Input should be 'wav', 'mp3' or 'opus'"),
        ("one", {"voice": ["de"]}, "voice: Input should be a valid string"),
        ("x" * 500_001, {}, "500,001 characters, where 500,000 characters are the limit"),
        ("x" * 10_000_000, {}, "10,000,000 bytes, where 500,000 characters are the limit"),
    ],
)
def test_what_cannot_be_spoken_says_why(desk, speaker, text, meta, said):
    assert said in desk.refusal(speaker, text, **meta)


@pytest.mark.parametrize(
    "text",
    [
        "Hello мир, 你好 and שלום! 🎉 \u202eevil\u202c done.",
        b"caf\xe9 na\xefve \xff\xfe and more",
        "a" * 20_000,
        "\ufeffmark",
        "\r\n".join(["line"] * 50),
    ],
)
def test_odd_texts_are_spoken_all_the_same(desk, speaker, text, samples_of):
    assert len(samples_of(desk.speech(speaker, text))) > 2000


def test_one_bad_text_of_a_batch_concerns_no_other(desk, speaker):
    events = [desk.event("one", "a.txt"), desk.event("", "b.txt"), desk.event("two", "c.txt")]
    found = list(espeak.on_text(events=events, model=speaker, context=desk.context))
    assert [type(one).__name__ for one in found] == ["Result", "Failure", "Result"]
    assert found[0].data.file != found[2].data.file


def test_an_emotion_is_left_out_and_that_is_told(desk, speaker):
    assert desk.speech(speaker, "hello", emotion="happy").problems == (
        "espeak-ng has no emotions: that was left out.",
    )


def test_a_library_that_is_not_there_says_what_to_install(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"not found at .*nowhere\.so.*pip install 'sensorium\[tts\]'"):
        espeak.load(settings=EspeakSettings(library=tmp_path / "nowhere.so"))


def test_every_voice_of_the_catalog_speaks(desk, speaker):
    for voice in espeak.voices():
        assert desk.speech(speaker, "one two", voice=voice).duration > 0.3
    assert catalog()["espeak"].voices[0].name == espeak.voices()[0]


def test_the_worker_of_the_host_hands_over_a_file_and_no_samples(desk):
    with WorkerClient.started() as client:
        assert client.load("plugins.tts.espeak", scratch=desk.folder / "scratch").op == "loaded"
        event: Text = desk.event("good morning everyone. how are you today?")
        *_, result, done = client.run([event], hook="on_text")
    assert (result.op, done.op, result.blobs) == ("result", "done", [])
    assert result.body["file"].startswith(str(desk.folder / "scratch"))
    assert result.body["data"]["synthetic"] is True
    assert "file" not in result.body["data"]

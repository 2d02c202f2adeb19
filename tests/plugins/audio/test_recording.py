"""Whatever a recording is wrapped in, its sound comes as a stream of 16 kHz; what is none is told in words."""

from __future__ import annotations

import tracemalloc

import av
import numpy as np
import pytest

from hooks import BadInput
from plugins.audio.recording import RATE, opened
from plugins.audio.speech import WINDOW, pieces, skipped
from tools.spoken_world import silence, write_recording, write_wav


def tone(seconds: float, rate: int = RATE, frequency: int = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def sound(room, path) -> np.ndarray:
    with opened(room.event(path)) as recording:
        return np.concatenate([np.zeros(0, np.float32), *recording.blocks()])


def problem(room, path) -> str:
    with pytest.raises(BadInput) as caught:
        sound(room, path)
    return str(caught.value)


def loudest_frequency(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_any_usual_rate_keeps_length_and_pitch(rate, room):
    heard = sound(room, write_wav(room.folder / "tone.wav", tone(2, rate), rate=rate))
    assert len(heard) == pytest.approx(2 * RATE, abs=0.02 * RATE)
    assert loudest_frequency(heard) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("channels", [2, 6, 8])
def test_many_channels_become_one(channels, room):
    heard = sound(room, write_wav(room.folder / "many.wav", np.tile(tone(1), (channels, 1))))
    assert heard.shape == (RATE,)
    assert loudest_frequency(heard) == pytest.approx(440, abs=2)
    assert np.abs(heard).max() <= 1


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".m4a", ".flac"])
def test_a_compressed_recording_keeps_its_length(suffix, room):
    path = write_recording(room.folder / f"tone{suffix}", tone(3))
    assert len(sound(room, path)) == pytest.approx(3 * RATE, abs=0.1 * RATE)


def test_the_sound_of_two_hundred_streams_is_that_of_the_best(room):
    path = room.folder / "crowd.mka"
    with av.open(str(path), "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(200)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray((tone(0.5) * 32767).astype("<i2")[None], format="s16", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
    assert len(sound(room, path)) == pytest.approx(RATE / 2, abs=100)


def test_a_film_without_sound_is_told_so(room):
    path = room.folder / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for packet in stream.encode(av.VideoFrame(64, 64, "yuv420p")):
            container.mux(packet)
        container.mux(stream.encode(None))
    assert "There is no sound in it." in problem(room, path)


@pytest.mark.parametrize(
    "text",
    [
        "This is a text.",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.0,\nfile://{folder}/tone.wav\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{folder}/tone.wav'\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    ],
)
def test_a_list_of_other_files_is_no_recording(text, room):
    write_wav(room.folder / "tone.wav", tone(1))
    path = room.folder / "list.wav"
    path.write_text(text.format(folder=room.folder))
    assert "No format of recordings" in problem(room, path)


@pytest.mark.parametrize("rate", [1, 900, 900_000, 2_000_000_000])
def test_a_rate_that_no_recorder_has_is_refused(rate, room):
    assert "samples a second" in problem(room, write_wav(room.folder / "odd.wav", silence(0.1), rate=rate))


def test_a_recording_of_nothing_is_no_sound_and_no_fault(room):
    assert len(sound(room, write_wav(room.folder / "none.wav", silence(0)))) == 0


def test_damage_in_the_middle_costs_the_damaged_part(room):
    path = write_recording(room.folder / "tone.mp3", tone(20))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    path.write_bytes(content)
    assert len(sound(room, path)) > 15 * RATE


def test_numbers_that_are_none_are_silence(room):
    path = room.folder / "floats.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
        values = np.array([[np.nan, np.inf, -np.inf, 7.0, *[0.0] * 1596]], np.float32)
        frame = av.AudioFrame.from_ndarray(values, format="flt", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    heard = sound(room, path)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1


# --- pieces ---


def test_pieces_are_the_whole_recording_one_after_the_other(take):
    samples = np.tile(take.samples, 12)
    found = list(pieces(np.array_split(samples, 17), 0, 45 * RATE, 0.5))
    assert np.array_equal(np.concatenate([piece.samples for piece in found]), samples)
    assert [piece.start for piece in found[1:]] == [piece.end for piece in found[:-1]]
    assert all(len(piece.samples) <= 45 * RATE for piece in found)
    assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]


def test_pieces_end_in_silence_and_windows_fit(take):
    samples = np.tile(take.samples, 12)
    for piece in pieces([samples], 0, 45 * RATE, 0.5):
        assert np.abs(samples[piece.end - 800 : piece.end + 800]).max() < 0.05
        assert all(0 <= start < end <= len(piece.samples) for start, end in piece.windows)
        assert all(end - start <= WINDOW for start, end in piece.windows)


def test_skipping_leaves_out_exactly_so_many_samples():
    blocks = [np.arange(0, 10), np.arange(10, 15), np.arange(15, 40)]
    for count in (0, 3, 10, 12, 15, 39):
        assert np.concatenate(list(skipped(blocks, count))).tolist() == list(range(count, 40))
    assert list(skipped(blocks, 40)) == []


def test_hours_are_never_in_memory_at_once(room):
    path = write_recording(room.folder / "hours.flac", silence(2 * 3600))
    longest = 0
    tracemalloc.start()
    try:
        with opened(room.event(path)) as recording:
            for block in recording.blocks():
                longest += len(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert longest == pytest.approx(2 * 3600 * RATE, rel=0.001)
    assert peak < 16e6, "two hours decoded would be 460 MB"

"""A film comes apart into the right pictures at the right moments, its sound and its subtitles, within limits."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from plugins.programs import find_ffmpeg
from tests.end_to_end.host_process import until
from tests.plugins.vision.films import SCENES, Apart, a_worker, drawn, shots, taken_apart, tone, video_event
from tools.films import RATE, Heard, fitted, write_film

FRAME = 1 / 25
SIZE = (640, 360)


@pytest.fixture
def apart(tmp_path: Path):
    """Takes a film apart in a worker of its own."""

    def take(path: Path, **settings) -> Apart:
        with a_worker(tmp_path / "scratch", **settings) as client:
            return taken_apart(client, path)

    return take


def shown(picture: dict) -> int:
    """Which of the scenes a picture shows."""
    pixels = np.asarray(Image.open(picture["path"]).convert("RGB").resize(SIZE), np.int16)
    distances = [np.abs(np.asarray(fitted(drawn(scene), SIZE), np.int16) - pixels).mean() for scene in SCENES]
    return int(np.argmin(distances))


def at(moment: float, ends: np.ndarray) -> int:
    """Which of the shots is shown at a moment."""
    return int(np.searchsorted(ends, moment, "right"))


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([find_ffmpeg(None), "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


LENGTHS = (3.04, 2.0, 4.36, 0.6, 2.0, 3.0)


@pytest.mark.parametrize(("every", "key_frame_every"), [(1.0, 25), (1.0, 250), (0.5, 7), (2.0, 25)])
def test_each_picture_is_what_the_film_shows_at_its_moment(tmp_path, apart, every, key_frame_every):
    film = tmp_path / "film.mp4"
    seconds = write_film(film, shots(*LENGTHS), key_frame_every=key_frame_every)
    found = apart(film, every=every, same=0)
    ends = np.cumsum(LENGTHS)
    first_looks = {at(moment, ends): moment for moment in np.arange(0, seconds, every)[::-1]}
    for picture in found.of("frame"):
        around = [picture["moment"] - FRAME, picture["moment"] + FRAME]
        assert shown(picture) in [at(moment, ends) for moment in around]
    assert found.info["seconds"] == pytest.approx(seconds, abs=FRAME)
    assert [shown(picture) for picture in found.of("frame")] == sorted(first_looks)
    assert found.moments == pytest.approx(sorted(first_looks.values()), abs=every / 4 + FRAME)


def test_where_key_frames_are_far_apart_pictures_come_at_the_very_moments(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(2, 2, 2, 2, 2, 2))
    assert apart(film, every=2).moments == pytest.approx([0, 2, 4, 6, 8, 10], abs=FRAME)


def test_with_scenes_there_is_a_picture_where_the_film_changes(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(3.04, 2, 4.36, 2, 2, 3))
    assert apart(film, scenes=0.1).moments == pytest.approx(np.cumsum([0, 3.04, 2, 4.36, 2, 2]), abs=FRAME)


def test_equal_pictures_are_left_out_and_another_colour_is_another_picture(tmp_path, apart):
    film = tmp_path / "film.mp4"
    red, blue = Image.new("RGB", (64, 64), (200, 40, 40)), Image.new("RGB", (64, 64), (40, 90, 220))
    [shot, *_] = shots(8)
    write_film(film, [shot, type(shot)(red, 6), type(shot)(blue, 6)])
    assert apart(film, every=1).moments == pytest.approx([0, 8, 14], abs=FRAME)


def test_of_a_variable_frame_rate_each_moment_is_the_frames_own(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(3, 3, 3, 3), durations=[1, 3, 7, 30])
    found = apart(film, every=1, same=0)
    assert [shown(picture) for picture in found.of("frame")] == [0, 1, 2, 3]
    for picture in found.of("frame"):
        assert 3 * shown(picture) - 1e-6 <= picture["moment"] < 3 * shown(picture) + 3


def test_a_film_that_a_telephone_turned_is_upright(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(3), rotation=90)
    found = apart(film)
    assert (found.info["width"], found.info["height"]) == (360, 640)
    assert Image.open(found.of("frame")[0]["path"]).size == (360, 640)


def test_pictures_are_no_larger_than_was_asked_for(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(3))
    assert Image.open(apart(film, picture_side=320).of("frame")[0]["path"]).size == (320, 180)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm.mkv", "film.avi", "film.ts"])
def test_the_sound_keeps_the_films_time(tmp_path, apart, name):
    film = tmp_path / "film.mp4"
    write_film(film, shots(4, 4), [Heard(3.0, tone()), Heard(6.5, tone())])
    if name != film.name:
        ffmpeg("-i", film, "-c", "copy", tmp_path / name)
    [sound] = apart(tmp_path / name).of("sound")
    samples = decoded(Path(sound["path"]))
    loud = np.flatnonzero(np.abs(samples) > 0.1) / RATE
    assert (sound["moment"], sound["name"]) == (0.0, f"{Path(name).stem}.flac")
    assert loud[0] == pytest.approx(3.0, abs=0.07)
    assert loud[np.searchsorted(loud, 5)] == pytest.approx(6.5, abs=0.07)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        assert file.streams.audio[0].rate == RATE
        parts = [frame.to_ndarray()[0] for frame in file.decode(audio=0)]
    return np.concatenate(parts) / 32768


def test_sound_that_begins_late_is_where_it_belongs(tmp_path, apart):
    write_film(tmp_path / "pictures.mp4", shots(8))
    write_film(tmp_path / "sound.mp4", [], [Heard(0.0, tone())])
    film = tmp_path / "film.mkv"
    ffmpeg("-i", tmp_path / "pictures.mp4", "-itsoffset", "4", "-i", tmp_path / "sound.mp4", "-c", "copy", film)
    [sound] = apart(film).of("sound")
    assert np.flatnonzero(np.abs(decoded(Path(sound["path"]))) > 0.1)[0] / RATE == pytest.approx(4.0, abs=0.07)


def test_a_film_without_sound_and_sound_without_pictures_give_what_they_have(tmp_path, apart):
    write_film(tmp_path / "silent.mp4", shots(2, 2))
    write_film(tmp_path / "dark.mp4", [], [Heard(0.5, tone())])
    silent, dark = apart(tmp_path / "silent.mp4"), apart(tmp_path / "dark.mp4")
    assert [one["role"] for one in silent.made] == ["frame", "frame"]
    assert [one["role"] for one in dark.made] == ["sound"]
    assert (dark.info["width"], dark.info["sound_codec"], dark.info["frames"]) == (0, "aac", 0)


SUBTITLES = "1\n00:00:01,000 --> 00:00:02,500\nHello <i>there</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nsecond line\n"


def test_subtitles_that_are_text_come_out_with_their_language(tmp_path, apart):
    (tmp_path / "a.srt").write_text(SUBTITLES)
    write_film(tmp_path / "film.mp4", shots(6))
    more = ("-map", "0", "-map", "1", "-map", "1", "-c", "copy", "-c:s", "mov_text")
    languages = ("-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=deu")
    ffmpeg("-i", tmp_path / "film.mp4", "-i", tmp_path / "a.srt", *more, *languages, tmp_path / "b.mp4")
    found = apart(tmp_path / "b.mp4")
    assert [one["name"] for one in found.of("subtitles")] == ["b.eng.srt", "b.deu.srt"]
    assert "00:00:03,000 --> 00:00:04,000\nsecond line" in Path(found.of("subtitles")[0]["path"]).read_text()
    assert found.info["subtitles"] == ["eng", "deu"]


def test_long_work_says_how_far_it_is(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(3, 3, 3))
    said = apart(film).progress
    assert said
    assert all(0 <= one["fraction"] <= 1 and "of 9 s" in one["text"] for one in said)


# -- what is too much, broken, or not what it seems ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_hours": 0.001}, "hours long"),
        ({"max_megapixels": 0.2}, "0.2 megapixels"),
        ({"max_streams": 1}, "It has 2 streams"),
        ({"cpu_minutes": 0.001}, "minutes of the processor"),
    ],
)
def test_what_is_too_much_is_refused_with_the_setting_that_allows_it(tmp_path, apart, settings, reason):
    film = tmp_path / "film.mp4"
    write_film(film, shots(*[20.0] * 6), [Heard(0, tone())], size=(1280, 720) if "cpu_minutes" in settings else SIZE)
    [said] = apart(film, **settings).reasons
    assert reason in said
    assert next(iter(settings)) in said


def test_two_hundred_streams_are_refused(tmp_path, apart):
    write_film(tmp_path / "one.mp4", shots(1))
    ffmpeg("-i", tmp_path / "one.mp4", *["-map", "0"] * 200, "-c", "copy", tmp_path / "many.mkv")
    [said] = apart(tmp_path / "many.mkv").reasons
    assert "It has 200 streams; at most 32 are opened." in said


def test_a_film_that_is_cut_off_gives_what_is_left_and_says_so(tmp_path, apart):
    write_film(tmp_path / "whole.mp4", shots(4, 4, 4, 4, 4, 4), key_frame_every=25)
    ffmpeg("-i", tmp_path / "whole.mp4", "-c", "copy", "-movflags", "faststart", tmp_path / "streamed.mp4")
    for name in ("whole.mp4", "streamed.mp4"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    [said] = apart(tmp_path / "whole.mp4").reasons
    assert "No format of films that can be opened was recognised" in said
    left = apart(tmp_path / "streamed.mp4")
    assert left.moments[0] == 0
    assert 4 <= left.moments[-1] <= 16
    assert "cut off or damaged" in left.info["problems"][0]


def test_noise_and_an_empty_file_are_no_films(tmp_path, apart):
    for name, content in (("noise.mp4", bytes(range(256)) * 100), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(content)
        [said] = apart(tmp_path / name).reasons
        assert said.startswith("No format of films")


@pytest.fixture
def web():
    """A server that counts who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        visits: list[str] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, address = server.accept()
                    visits.append(str(address))
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", visits
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


TRAPS = {
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXTINF:10,\n{web}/a.ts\n#EXT-X-ENDLIST\n",
    "script.mp4": "ffconcat version 1.0\nfile '{secret}'\nfile '{web}/a.mp4'\n",
    "plan.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{web}/</BaseURL></MPD>',
    "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "frames-%03d.mp4": "%03d",
}


def test_a_list_of_other_files_is_no_film_whatever_it_is_called(tmp_path, web):
    address, visits = web
    secret = tmp_path / "elsewhere" / "secret.ts"
    secret.parent.mkdir()
    write_film(tmp_path / "film.mp4", shots(2, 2))
    ffmpeg("-i", tmp_path / "film.mp4", "-c", "copy", secret)
    traps = tmp_path / "traps"
    traps.mkdir()
    for name, text in TRAPS.items():
        (traps / name).write_text(text.format(secret=secret, web=address) if "{" in text else text)
    shutil.copy(tmp_path / "film.mp4", traps / "good.mp4")
    with a_worker(tmp_path / "scratch") as client, watched(client.process.pid, tmp_path / "calls.txt") as calls:
        for name in TRAPS:
            [said] = taken_apart(client, traps / name).reasons
            assert said.startswith("No format of films"), name
        assert len(taken_apart(client, traps / "good.mp4").moments) == 2
    assert visits == []
    opened = calls()
    assert "good.mp4" in opened or shutil.which("strace") is None
    for outside in ("secret.ts", "AF_INET", "sin_port"):
        assert outside not in opened


class watched:
    """What a process and its children open and whom they call, by strace; nothing where that is not installed."""

    def __init__(self, pid: int, log: Path) -> None:
        self._log, self._pid = log, pid
        self._strace: subprocess.Popen[bytes] | None = None

    def __enter__(self):
        if shutil.which("strace"):
            calls = ("-e", "trace=open,openat,connect,socket", "-s", "300")
            command = ["strace", "-f", "-o", str(self._log), *calls, "-p", str(self._pid)]
            self._strace = subprocess.Popen(command, stderr=subprocess.PIPE)
            self._strace.stderr.readline()  # "Process … attached"
        return lambda: self._log.read_text() if self._log.exists() else ""

    def __exit__(self, *_: object) -> None:
        if self._strace is not None:
            self._strace.terminate()
            self._strace.communicate()


def test_what_a_crash_left_in_the_scratch_folder_is_not_taken_for_a_picture(tmp_path, apart):
    film = tmp_path / "film.mp4"
    write_film(film, shots(2, 2))
    left = tmp_path / "scratch" / "film-mp4"
    left.mkdir(parents=True)
    (left / "frame-000099.jpg").write_bytes(b"half a picture")
    assert len(apart(film).moments) == 2
    assert not (left / "frame-000099.jpg").exists()


def test_ffmpeg_ends_with_the_worker(tmp_path):
    film = tmp_path / "film.mp4"
    write_film(film, shots(*[30.0] * 6), size=(1280, 720))
    with a_worker(tmp_path / "scratch", every=0.1, same=0) as client:
        client.send({"op": "run", "hook": "on_video", "events": [video_event(film).model_dump(mode="json")]})
        until(lambda: list((tmp_path / "scratch").rglob("frame-*.jpg")))
        [child] = psutil.Process(client.process.pid).children()
        client.process.kill()
        _, alive = psutil.wait_procs([child], timeout=60)
        assert not alive


def test_no_ffmpeg_is_a_clear_message(tmp_path):
    from hooks import ModelUnavailable

    with pytest.raises(ModelUnavailable, match=r"no ffmpeg of version 5\.1 or newer at /nowhere"):
        find_ffmpeg(Path("/nowhere"))

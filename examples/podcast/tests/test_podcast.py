"""A feed of a web server on this machine."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

ITEM = '<item><title>Number\n {0}</title><enclosure url="{1}" type="audio/wav"/></item>'


class Station:
    """A feed, its episodes, and which of them were fetched."""

    def __init__(self, folder, events):
        self.folder, self.events, self.asked = folder, events, []
        folder.mkdir()
        station = self

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *words):
                station.asked.append(self.path)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.feed = f"http://127.0.0.1:{self.server.server_port}/feed.xml"

    def send(self, *numbers):
        for number in numbers:
            tone = self.events.audio(f"tone{number}.wav").path.read_bytes()
            (self.folder / f"{number}.wav").write_bytes(tone[:-number])
        items = "".join(ITEM.format(number, f"{number}.wav") for number in numbers)
        (self.folder / "feed.xml").write_text(f"<rss><channel>{items}</channel></rss>")


@pytest.fixture
def station(tmp_path, events):
    station = Station(tmp_path / "station", events)
    serving = threading.Thread(target=station.server.serve_forever)
    serving.start()
    yield station
    station.server.shutdown()
    serving.join()
    station.server.server_close()


def test_each_episode_is_taken_in_once_over_restarts_and_files_of_this_machine_never(host, station, tmp_path):
    (tmp_path / "secret.wav").write_bytes(b"RIFF....WAVE secret")
    (station.folder / "evil.xml").write_text(f"<rss>{ITEM.format(1, f'file://{tmp_path}/secret.wav')}</rss>")
    host.use("podcast", feeds={"history": station.feed, "evil": station.feed.replace("feed", "evil")}, newest=2)
    station.send(3, 2, 1)
    host.run()
    station.send(4, 3, 2)
    found = host.run()
    assert sorted(one["event"]["origin"].rsplit("/")[-1] for one in found.values()) == ["2.wav", "3.wav", "4.wav"]
    event = next(one["event"] for one in found.values() if one["event"]["origin"].endswith("/2.wav"))
    assert (event["source"], event["kind"], event["tags"]) == ("podcast.history", "audio", ["history"])
    assert event["metadata"] == {"title": "Number 2", "feed": station.feed}
    assert [path for path in station.asked if path.endswith(".wav")] == ["/3.wav", "/2.wav", "/4.wav"]
    assert "secret.wav is no address of the web" in (host.folder / "data" / "logs" / "host.log").read_text()

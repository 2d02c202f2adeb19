"""A topic is data: whatever it says, sidecars and reports of refusals stay in their folders."""

from __future__ import annotations

import json

import pytest

from host.names import to_text
from host.sinks.sidecar import SidecarSink

TOPICS = ["../../../etc/passwd", "/", "a//b", "..", ".", r"a\x2f..\x2fx", "nul\x00byte", "x" * 60_000, "☃", "a/.."]


@pytest.fixture
def sink(journal, library, tmp_path) -> SidecarSink:
    return SidecarSink(journal, library, tmp_path / "outbox", tmp_path / "outbox" / "failed", {"inbox": ""})


@pytest.mark.parametrize("topic", TOPICS)
def test_the_sidecar_of_a_message_stays_in_the_outbox_of_its_source(sink, tmp_path, topic):
    path = sink.path_of("mqtt", to_text(topic), "0123456789abcdef")
    assert path.resolve().parent == (tmp_path / "outbox" / "mqtt").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


@pytest.mark.parametrize("topic", TOPICS)
def test_the_report_of_a_refused_message_stays_in_the_folder_of_failures(sink, tmp_path, topic):
    sink.refused("mqtt", [(to_text(topic), "It is empty.")])
    written = [path for path in tmp_path.rglob("*.error.json") if path.is_file()]
    assert [path.parent for path in written] == [tmp_path / "outbox" / "failed" / "mqtt"]
    assert json.loads(written[0].read_bytes())["file"] == to_text(topic)


def test_refused_messages_of_two_topics_with_one_last_level_are_told_apart(sink, tmp_path):
    sink.refused("mqtt", [("a/picture", "It is empty."), ("b/picture", "It is empty.")])
    assert len(list(tmp_path.rglob("*.error.json"))) == 2

"""Rows for the journal's named statements, with everything filled in that a test does not care about."""

from __future__ import annotations

from typing import Any

from host.journal import Statement

Row = dict[str, Any]
SINK = "sidecar"


def event(name: str, **columns: Any) -> Row:
    return {
        "id": name, "kind": "image", "media_type": "image/png", "sha256": name, "size": 1, "location": f"{name}.png",
        "mark": "", "name": name, "source": "inbox", "origin": name, "tags": "[]", "metadata": "{}", "parent": None,
        "created": 0.0, **columns,
    }  # fmt: skip


def arrival(event: str | None, origin: str, **columns: Any) -> Row:
    row = {"source": "inbox", "origin": origin, "revision": "1", "changed": 0, "event_id": event, "seen": 0.0}
    return {**row, "sink": SINK, **columns}


def refusal(origin: str, **columns: Any) -> Row:
    return {**arrival(None, origin), "reason": "too large", **columns}


def job(event: str, plugin: str) -> Row:
    return {"event_id": event, "plugin": plugin, "queued": 1.0}


def result(event: str, plugin: str, text: str, ordinal: int = 0) -> Row:
    return {
        "event_id": event, "plugin": plugin, "ordinal": ordinal, "type": "caption", "version": 1, "data": text,
        "artifact": None, "provenance": "{}", "created": 2.0,
    }  # fmt: skip


def embedding(event: str, plugin: str, ordinal: int = 0) -> Row:
    return {"event_id": event, "plugin": plugin, "ordinal": ordinal, "space": "space", "vector": b"\0\0\x80\x3f"}


def arrives(name: str, origin: str, plugins: list[str]) -> list[Statement]:
    """What intake commits when a content arrives."""
    mark = arrival(name, origin)
    return [
        Statement("insert_event", [event(name)]),
        Statement("insert_arrival", [mark]),
        Statement("insert_job", [job(name, plugin) for plugin in plugins]),
        Statement("owe_arrival", [mark]),
        Statement("forget_refusal", [mark]),
    ]


def taken_in(events: list[Row], arrivals: list[Row], refusals: list[Row]) -> list[Statement]:
    """What intake commits for a batch of files, some of them refused."""
    return [
        Statement("insert_event", events),
        Statement("insert_arrival", arrivals),
        Statement("owe_arrival", arrivals),
        Statement("forget_refusal", arrivals),
        Statement("refuse_arrival", refusals),
    ]


def finishes(seq: int, name: str, plugin: str, text: str, results: int = 1) -> list[Statement]:
    """What the dispatcher commits when a job is done."""
    return [
        Statement("clear_results", [{"event_id": name, "plugin": plugin}]),
        Statement("insert_result", [result(name, plugin, text, ordinal) for ordinal in range(results)]),
        Statement("insert_embedding", [embedding(name, plugin, ordinal) for ordinal in range(results)]),
        Statement("finish_job", [{"seq": seq, "finished": 3.0}]),
        owes(name),
    ]


def retries(seq: int, attempts: int) -> list[Statement]:
    again = {"seq": seq, "attempts": attempts, "alone": 1, "not_before": 9.0, "error": '{"code": "crashed"}'}
    return [Statement("retry_job", [again])]


def fails(seq: int, name: str, attempts: int) -> list[Statement]:
    error = {"seq": seq, "attempts": attempts, "error": '{"code": "crashed"}', "finished": 3.0}
    return [Statement("fail_job", [error]), owes(name)]


def requeues(seq: int) -> list[Statement]:
    return [Statement("requeue_job", [{"seq": seq, "queued": 4.0}])]


def owes(name: str) -> Statement:
    return Statement("owe_event", [{"event_id": name, "sink": SINK}])

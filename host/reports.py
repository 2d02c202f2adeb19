"""Answers read from the journal: events with their results, and why something is where it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from hooks import SpeakerTurns, Transcript, Turn
from host.errors import NotFound
from host.journal import Journal, Row
from host.library import Library
from host.views import EventFacts, EventView, FailureView, JobFailure, RefusalView, ResultView


async def event_view(event_id: str, journal: Journal, library: Library) -> EventView:
    """Everything that is known of an event. Raises NotFound."""
    views = await event_views([event_id], journal, library)
    if event_id not in views:
        raise NotFound(f"No event {event_id} is known.")
    return views[event_id]


async def event_views(event_ids: Sequence[str], journal: Journal, library: Library) -> dict[str, EventView]:
    """Everything that is known of events, by id; read together, because a burst finishes many at once."""
    ids = json.dumps(list(event_ids))
    events = await journal.rows("events_by_id", ids=ids)
    jobs = _by_event(await journal.rows("jobs_of_events", ids=ids))
    results = _by_event(await journal.rows("results_of_events", ids=ids))
    return {row["id"]: _view(row, jobs.get(row["id"], ()), results.get(row["id"], ()), library) for row in events}


def _by_event(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["event_id"], []).append(row)
    return groups


def _view(row: Row, jobs: Sequence[Row], results: Sequence[Row], library: Library) -> EventView:
    return EventView(
        event=event_facts(row, library),
        results=_with_speakers([_result(result, library) for result in results]),
        failures=[_failure(job) for job in jobs if job["state"] == "failed"],
        pending=[job["plugin"] for job in jobs if job["state"] == "queued"],
    )


def event_facts(row: Row, library: Library) -> EventFacts:
    """The event of a row."""
    names = (
        "id",
        "kind",
        "media_type",
        "sha256",
        "size",
        "name",
        "source",
        "origin",
        "parent",
        "role",
        "moment",
        "created",
    )
    return EventFacts(
        **{name: row[name] for name in names},
        path=str(library.resolve(row["location"])),
        tags=json.loads(row["tags"]),
        metadata=json.loads(row["metadata"]),
    )


def _result(row: Row, library: Library) -> ResultView:
    return ResultView(
        plugin=row["plugin"],
        type=row["type"],
        version=row["version"],
        data=json.loads(row["data"]),
        artifact=str(library.resolve(row["artifact"])) if row["artifact"] else None,
        provenance=json.loads(row["provenance"]),
    )


def _with_speakers(results: list[ResultView]) -> list[ResultView]:
    """The same; where one tells who speaks when, the segments of transcripts say whose they are."""
    told = next((one.data for one in results if one.type == SpeakerTurns.type), None)
    if told is None:
        return results
    try:
        turns = SpeakerTurns.model_validate(told).turns
        return [_spoken_by(one, turns) if one.type == Transcript.type else one for one in results]
    except ValidationError:  # of another version, or somebody's own
        return results


def _spoken_by(result: ResultView, turns: Sequence[Turn]) -> ResultView:
    transcript = Transcript.model_validate(result.data).spoken_by(turns)
    return result.model_copy(update={"data": transcript.model_dump(mode="json")})


def _failure(row: Row) -> JobFailure:
    error = error_of(row)
    return JobFailure(
        plugin=row["plugin"],
        code=error["code"],
        message=error["message"],
        hint=error["hint"],
        attempts=row["attempts"],
    )


def error_of(row: Row) -> dict[str, str]:
    """The last error of a job: code, message, hint, detail; empty strings when there was none."""
    empty = dict.fromkeys(("code", "message", "hint", "detail"), "")
    return {**empty, **(json.loads(row["error"]) if row["error"] else {})}


def failure_view(row: Row) -> FailureView:
    """A failed job for `status`."""
    error = error_of(row)
    return FailureView(
        event=row["event_id"],
        plugin=row["plugin"],
        origin=row["origin"],
        source=row["source"],
        attempts=row["attempts"],
        message=error["message"],
        hint=error["hint"],
        at=row["finished"],
        moment=row["moment"],
    )


def refusal_view(row: Row) -> RefusalView:
    """A refused arrival for `status`."""
    return RefusalView(source=row["source"], origin=row["origin"], reason=row["reason"], at=row["seen"])


def job_counts(rows: list[Any]) -> dict[str, dict[str, int]]:
    """Jobs by plugin and state."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        counts.setdefault(row["plugin"], {})[row["state"]] = row["jobs"]
    return counts

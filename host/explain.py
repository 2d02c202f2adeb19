"""`sensorium why`: what happened to a file, in sentences, and what to do about it."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from host.dispatcher import Dispatcher
from host.journal import Journal, Row
from host.leasing.leases import ASKED, Leases
from host.library import Library
from host.lookup import PathName, path_of
from host.names import clock, to_text
from host.reports import error_of
from host.sinks.plugin import notice_sentences
from host.sources.folder import FolderSource
from host.views import Explanation, JobExplanation, Whereabouts

MOST_OPEN: tuple[Whereabouts, ...] = ("running", "queued", "failed")
REQUEUE = "Put right what is said, then `sensorium requeue {}`."


@dataclass(frozen=True, slots=True)
class Facts:
    """Where the answers come from."""

    journal: Journal
    library: Library
    sources: Sequence[FolderSource]
    dispatcher: Dispatcher
    leases: Leases
    running: int | None


async def explain(query: str, event_id: str | None, facts: Facts) -> Explanation:
    """Why a path or event is where it is; `event_id` is None when no event is known for it."""
    place = path_of(query)
    path = place.name
    source = next((one for one in facts.sources if one.origin_of(path) is not None), None)
    if source is not None and place.there is not None:
        before = await _before_the_event(query, path, source, facts)
        if before is not None:
            return before
    if event_id is not None:
        return await _of_event(query, event_id, facts)
    refusal = await _refusal(path, source, facts)
    if refusal is not None:
        return _simply("refused", f"It was refused: {refusal['reason']}", query, source)
    return _simply("unknown", _unknown(place, source, facts), query, source)


async def _before_the_event(query: str, path: str, source: FolderSource, facts: Facts) -> Explanation | None:
    """What holds for a file that lies in an inbox and was not (or not yet) taken from there."""
    state = source.state_of(path)
    if source.alarm and state in (None, "settling"):
        return _simply("paused", source.alarm, query, source)
    if state == "ignored":
        why = "(hidden, partial, or by `ignore`)"
        sentence = f"Its name, or a folder it lies in, is one that inbox {source.inbox.name!r} leaves alone {why}."
        return _simply("ignored", sentence, query, source)
    if state == "settling":
        sentence = f"It is watched until it has not changed for {source.inbox.quiet:g} s."
        return _simply("settling", sentence, query, source)
    if state == "taking":
        return _simply("taking", "It is being read and recorded.", query, source)
    refusal = await _refusal(path, source, facts)
    if refusal is not None and source.is_current(path, refusal["revision"]):
        return _simply("refused", f"It was refused: {refusal['reason']}", query, source)
    return None


def _simply(state: Whereabouts, sentence: str, query: str, source: FolderSource | None) -> Explanation:
    return Explanation(subject=query, state=state, sentences=[sentence], rule=_rule(source))


async def _refusal(path: str, source: FolderSource | None, facts: Facts) -> Row | None:
    origin = source.origin_of(path) if source else to_text(path)
    rows = await facts.journal.rows("arrivals_by_origin", origin=origin, source=source.inbox.name if source else None)
    return next((row for row in rows if row["state"] == "refused"), None)


def _unknown(place: PathName, source: FolderSource | None, facts: Facts) -> str:
    if place.there is None:
        return "There is no such file, and none of that name was ever taken in."
    if source is None:
        folders = ", ".join(str(one.inbox.path) for one in facts.sources)
        return f"It lies in no inbox, and nothing of that content was ever taken in. The inboxes are: {folders}."
    if facts.running is None:
        return "It was not taken in yet, and no host runs. Start one with `sensorium run`."
    return "It was not noticed yet; the next scan will find it."


def _rule(source: FolderSource | None) -> str:
    if source is None:
        return ""
    inbox = source.inbox
    return f"inbox {inbox.name!r} ({inbox.path}): mode {inbox.mode}, after {inbox.after}"


async def _of_event(query: str, event_id: str, facts: Facts) -> Explanation:
    chain = await facts.journal.rows("ancestors", event_id=event_id)
    arrivals = await facts.journal.rows("arrivals_of_event", event_id=chain[-1]["id"])
    rows = await facts.journal.rows("jobs_of_event", event_id=event_id)
    jobs = [await _job(row, facts) for row in rows]
    made = await _made(event_id, facts)
    sentences = [*_derived(chain), _arrived(arrivals, "It" if len(chain) == 1 else chain[-1]["name"])]
    sentences += [*(_sentence(job) for job in jobs), *made]
    if not jobs and not made:
        sentences.append("No plugin in use takes this kind of file, or the routes leave it out (`sensorium plugins`).")
    sentences += notice_sentences(await facts.journal.rows("notices_of_event", event_id=event_id))
    states = {job.state for job in jobs}
    state = next((state for state in MOST_OPEN if state in states), "done")
    if state == "queued" and facts.running is None:
        sentences.append("No host runs. Start one with `sensorium run`.")
    if state == "queued":
        sentences += _held_back(jobs, facts.leases, facts.dispatcher)
    return Explanation(
        subject=query, state=state, sentences=sentences, event=event_id, jobs=jobs, holder=_holder(jobs, facts)
    )


def _derived(chain: Sequence[Row]) -> list[str]:
    """How an event was made: from which one, where in it, by whom; nothing of one that arrived."""
    return [
        f"It is {_role(one)} of {above['name']} (event {above['id'][:8]}), made by {one['maker']}."
        for one, above in itertools.pairwise(chain[:2])
    ]


def _role(row: Row) -> str:
    return f"the {row['role']}" if row["moment"] is None else f"the {row['role']} at {clock(row['moment'])}"


async def _made(event_id: str, facts: Facts) -> list[str]:
    """What was made of an event, and how far that is."""
    rows = await facts.journal.rows("derived_jobs", event_id=event_id)
    if not rows:
        return []
    states = Counter(row["state"] for row in rows if row["state"])
    told = ", ".join(f"{states[state]} {state}" for state in ("done", "queued", "failed") if states[state])
    events = len({row["id"] for row in rows})
    return [f"{events} further event(s) were made of it; their jobs: {told or 'none'}."]


def _held_back(jobs: Sequence[JobExplanation], leases: Leases, dispatcher: Dispatcher) -> Iterator[str]:
    """What keeps jobs from being done, although a host may run."""
    if leases.paused:
        resume = " `sensorium resume` goes on." if leases.why_paused == ASKED else ""
        yield f"The host is paused ({leases.why_paused}).{resume}"
    off = [job.plugin for job in jobs if job.state == "queued" and dispatcher.records.of(job.plugin).off]
    for plugin in dict.fromkeys(off):
        yield f"{plugin} is off: {dispatcher.records.why_off(plugin)} `sensorium plugin enable {plugin}` goes on."
    waiting = [job.plugin for job in jobs if job.state == "queued" and job.plugin in leases.slots]
    yield from dict.fromkeys(f"{why[:1].upper()}{why[1:]}." for plugin in waiting if (why := leases.why_not(plugin)))


def _arrived(arrivals: Sequence[Row], what: str) -> str:
    if not arrivals:
        return f"{what} arrived at some time; nothing more is known of that."
    first = arrivals[-1]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first["seen"]))
    again = f", and came {len(arrivals)} times in all; the same content is worked on once" if len(arrivals) > 1 else ""
    return f"{what} arrived from {first['source']} as {first['origin']} on {when}{again}."


async def _job(row: Row, facts: Facts) -> JobExplanation:
    running = row["seq"] in facts.dispatcher.running(row["plugin"])
    ahead = await facts.journal.row("jobs_ahead", plugin=row["plugin"], seq=row["seq"])
    error = error_of(row)
    failed = row["state"] == "failed"
    made = await facts.journal.row("provenance", event_id=row["event_id"], plugin=row["plugin"])
    provenance = json.loads(made["provenance"]) if made else {}
    progress = facts.dispatcher.progress.get((row["plugin"], row["event_id"]))
    return JobExplanation(
        plugin=row["plugin"],
        state="running" if running and row["state"] == "queued" else row["state"],
        ahead=ahead["ahead"] if ahead and row["state"] == "queued" else 0,
        attempts=row["attempts"],
        next_try=row["not_before"] if row["state"] == "queued" and row["not_before"] > time.time() else None,
        progress=progress.fraction if progress else None,
        progress_text=progress.text if progress else "",
        error=error["message"],
        held=bool(row["held"]) and row["state"] == "queued",
        advice=f"{error['hint']} {REQUEUE.format(row['event_id'][:8])}".strip() if failed else error["hint"],
        variant=provenance.get("variant"),
        ladder=provenance.get("ladder", []),
    )


def _sentence(job: JobExplanation) -> str:
    if job.state == "done":
        as_what = f", by the variant {job.variant!r} of its model" if job.variant else ""
        tried = f"; memory ran out, and it was tried again {', then '.join(job.ladder)}" if job.ladder else ""
        return f"{job.plugin}: done{as_what}{tried}."
    if job.state == "running":
        said = f" ({job.progress_text})" if job.progress_text else ""
        far = "" if job.progress is None else f": {job.progress:.0%} done{said}"
        return f"{job.plugin}: at work now{far}."
    if job.state == "failed":
        return f"{job.plugin}: failed after {job.attempts} attempt(s): {job.error} {job.advice}".strip()
    if job.held:
        return f"{job.plugin}: waits until all that was made of it is worked off."
    later = f"; tried again in {max(0.0, job.next_try - time.time()):.0f} s" if job.next_try else ""
    last = f"; last time: {job.error}" if job.error else ""
    return f"{job.plugin}: waits behind {job.ahead} other job(s){later}{last}."


def _holder(jobs: Sequence[JobExplanation], facts: Facts) -> str | None:
    for job in jobs:
        slot = facts.leases.slots.get(job.plugin)
        if job.state in ("queued", "running") and slot is not None:
            turn = facts.leases.turn_on(slot.device.name)
            return f"{turn.model} on {slot.device.name}" if turn else None
    return None

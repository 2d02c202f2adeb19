"""The queue of a plugin: nothing is lost, nothing is there twice, and batches are what a worker can take."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host import queues
from host.queues import BACKGROUND, NORMAL, Job, JobQueue, Queues, Request


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Backlog:
    """What the journal knows of one plugin's queued jobs; reading takes a turn of the event loop."""

    queued: dict[int, dict] = field(default_factory=dict)
    reads: int = 0

    def add(
        self, kind: str = "image", *, seq: int | None = None, not_before: float = 0.0, alone: int = 0, priority=NORMAL
    ) -> int:
        seq = seq or max(self.queued, default=0) + 1
        self.queued[seq] = {
            "seq": seq, "event_id": f"e{seq}", "attempts": 0, "alone": alone, "not_before": not_before,
            "queued": 900.0 + seq, "gathers": 0, "kind": kind, "priority": priority,
        }  # fmt: skip
        return seq

    async def rows(self, name: str, **wanted) -> list[dict]:
        self.reads += 1
        if name == "queued_jobs":
            rows = [row for _, row in sorted(self.queued.items()) if row["priority"] == wanted["priority"]]
            found = [row for row in rows if row["seq"] > wanted["after"]][: wanted["limit"]]
        else:
            found = [self.queued[seq] for seq in sorted(json.loads(wanted["seqs"])) if seq in self.queued]
        await asyncio.sleep(0)
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backlog() -> Backlog:
    return Backlog()


@pytest.fixture
def queue(backlog: Backlog, clock: Clock) -> JobQueue:
    return JobQueue("clip", backlog, clock)  # type: ignore[arg-type]  # all that it uses of a journal


def numbers(jobs: list[Job]) -> list[int]:
    return [job.seq for job in jobs]


async def test_jobs_come_oldest_first_and_no_more_than_asked_for(queue, backlog):
    for _ in range(5):
        backlog.add()
    await queue.fill()
    assert numbers(queue.take(3)) == [1, 2, 3]
    assert numbers(queue.take(3)) == [4, 5]
    assert queue.take(3) == []


async def test_a_batch_is_of_one_kind_and_the_others_keep_their_places(queue, backlog):
    for kind in ("image", "text", "image", "text", "image"):
        backlog.add(kind)
    await queue.fill()
    assert numbers(queue.take(9)) == [1, 3, 5]
    assert numbers(queue.take(9)) == [2, 4]


async def test_a_job_that_must_be_alone_comes_alone_and_holds_up_nobody(queue, backlog):
    for alone in (0, 1, 0, 0):
        backlog.add(alone=alone)
    await queue.fill()
    assert [numbers(queue.take(9)) for _ in range(2)] == [[1, 3, 4], [2]]


async def test_a_delayed_job_waits_for_its_time(queue, backlog, clock):
    backlog.add(not_before=1005.0)
    await queue.fill()
    assert (len(queue), queue.due_in, queue.take(1)) == (0, 5.0, [])
    clock.now = 1005.0
    assert (len(queue), numbers(queue.take(1))) == (1, [1])
    assert queue.due_in is None


async def test_the_first_job_says_how_long_it_has_waited(queue, backlog):
    assert queue.waited == 0.0
    backlog.add()
    await queue.fill()
    assert queue.waited == 1000.0 - 901.0


async def test_a_job_tried_again_has_waited_since_it_was_due_and_not_since_it_came(queue, backlog, clock):
    backlog.add(not_before=1005.0)
    await queue.fill()
    clock.now = 1007.0
    assert queue.waited == 2.0


async def test_put_back_in_front_keeps_the_order(queue, backlog):
    for _ in range(4):
        backlog.add()
    await queue.fill()
    queue.put_back(queue.take(2), first=True)
    assert numbers(queue.take(9)) == [1, 2, 3, 4]


async def test_put_back_takes_the_job_as_it_is_now(queue, backlog, clock):
    backlog.add()
    await queue.fill()
    (job,) = queue.take(1)
    queue.put_back([replace(job, attempts=1, not_before=1002.0)])
    clock.now = 1002.0
    assert queue.take(1)[0].attempts == 1


async def test_a_large_backlog_stays_in_the_journal(queue, backlog, monkeypatch):
    monkeypatch.setattr(queues, "WINDOW", 10)
    for _ in range(95):
        backlog.add()
    seen = []
    while not queue.is_drained:
        await queue.fill()
        assert len(queue) < 20
        jobs = queue.take(7)
        seen += numbers(jobs)
        queue.finished(jobs)
    assert seen == list(range(1, 96))


async def test_two_readers_at_once_take_nothing_in_twice(queue, backlog):
    backlog.add()
    first = asyncio.create_task(queue.fill())
    await asyncio.sleep(0)
    backlog.add()
    queue.expect_more()
    await asyncio.gather(first, queue.fill())
    assert numbers(queue.take(9)) == [1, 2]


async def test_a_queue_is_not_drained_while_it_reads_nor_while_a_job_is_taken(queue, backlog):
    backlog.add()
    reading = asyncio.create_task(queue.fill())
    await asyncio.sleep(0)
    assert not queue.is_drained
    await reading
    jobs = queue.take(1)
    assert not queue.is_drained
    queue.finished(jobs)
    assert queue.is_drained


async def test_a_queue_with_a_delayed_job_is_not_drained(queue, backlog):
    await queue.fill()
    assert queue.is_drained
    backlog.add(not_before=5000.0)
    queue.expect_more()
    await queue.fill()
    assert not queue.is_drained


async def test_what_was_failed_comes_back_once_whether_it_lies_behind_or_ahead(queue, backlog, monkeypatch):
    monkeypatch.setattr(queues, "WINDOW", 2)
    for _ in range(4):
        backlog.add()
    await queue.fill()
    queue.finished(queue.take(9))  # failed in the journal, and then requeued there
    await queue.bring_back([1, 2, 3, 4])
    taken = []
    while not queue.is_drained:
        await queue.fill()
        jobs = queue.take(9)
        taken += numbers(jobs)
        queue.finished(jobs)
    assert sorted(taken) == [1, 2, 3, 4]


async def test_bringing_back_what_waits_or_runs_changes_nothing(queue, backlog):
    for _ in range(2):
        backlog.add()
    await queue.fill()
    taken = queue.take(1)
    await queue.bring_back([1, 2])
    await queue.fill()
    assert numbers(queue.take(9)) == [2]
    queue.finished(taken)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(["image", "text"]), st.booleans()),
        st.tuples(st.sampled_from(["fill", "fill twice", "tick"])),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["done", "first", "alone", "later", "requeue"]), st.integers(0, 9)),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_and_nothing_is_there_twice_whatever_happens(steps, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "WINDOW", window)
        arrived, finished = asyncio.run(_play(steps))
    assert finished == arrived, "a job was lost"


async def _play(steps: list[tuple]) -> tuple[set[int], set[int]]:
    """The jobs that arrived and those that were finished, when all is worked off; no batch is other than it may be."""
    backlog, clock = Backlog(), Clock()
    queue = JobQueue("clip", backlog, clock)  # type: ignore[arg-type]
    held: list[Job] = []
    finished: dict[int, dict] = {}
    for what, *facts in steps:
        if what == "arrive":
            backlog.add(facts[0], seq=len(backlog.queued) + len(finished) + 1, alone=facts[1])
            queue.expect_more()
        elif what == "fill":
            await queue.fill()
        elif what == "fill twice":
            await asyncio.gather(queue.fill(), queue.fill())
        elif what == "tick":
            clock.now += 5
        elif what == "take":
            batch = queue.take(facts[0])
            _check_batch(batch, held, facts[0])
            held += batch
        elif what == "requeue" and finished:
            seq = sorted(finished)[facts[0] % len(finished)]
            backlog.queued[seq] = finished.pop(seq)
            await asyncio.gather(queue.bring_back([seq]), queue.fill())
        elif what != "requeue" and held:
            _settle(queue, backlog, finished, held.pop(facts[0] % len(held)), what, clock)
    arrived = set(backlog.queued) | set(finished)
    await _work_off(queue, backlog, clock, held, finished)
    return arrived, set(finished)


def _check_batch(batch: list[Job], held: list[Job], limit: int) -> None:
    assert len(batch) <= limit
    assert len({job.event["kind"] for job in batch}) <= 1
    assert len(batch) == 1 or not any(job.alone for job in batch)
    assert not {job.seq for job in batch} & {job.seq for job in held}, "handed out twice"


def _settle(queue: JobQueue, backlog: Backlog, finished: dict[int, dict], job: Job, what: str, clock: Clock) -> None:
    if what == "done":
        finished[job.seq] = backlog.queued.pop(job.seq)
        queue.finished([job])
    else:
        later = clock.now + 7 if what == "later" else 0.0
        queue.put_back([replace(job, alone=job.alone or what == "alone", not_before=later)], first=what == "first")


async def _work_off(
    queue: JobQueue, backlog: Backlog, clock: Clock, held: list[Job], finished: dict[int, dict]
) -> None:
    for job in held:
        _settle(queue, backlog, finished, job, "done", clock)
    for _ in range(10 * len(backlog.queued) + 10):
        if queue.is_drained:
            break
        await queue.fill()
        clock.now += 1
        for job in queue.take(3):
            assert job.seq not in finished, "handed out twice"
            _settle(queue, backlog, finished, job, "done", clock)
    assert queue.is_drained


# -- both priorities -------------------------------------------------------------------------------------------------


async def test_background_jobs_have_a_queue_of_their_own(backlog):
    both = Queues("clip", backlog)  # type: ignore[arg-type]
    later, first = backlog.add(priority=BACKGROUND), backlog.add()
    await both.fill()
    assert [job.seq for job in both.normal.take(9)] == [first]
    assert [job.seq for job in both.background.take(9)] == [later]
    assert set(both.taken) == {first, later}


async def test_jobs_that_are_put_back_return_to_their_own_queue(backlog):
    both = Queues("clip", backlog)  # type: ignore[arg-type]
    backlog.add(priority=BACKGROUND)
    backlog.add()
    await both.fill()
    taken = both.take_all()
    both.put_back(taken)
    assert (len(both.normal), len(both.background), both.taken) == (1, 1, {})


async def test_failed_jobs_that_come_back_return_to_their_own_queue(backlog):
    both = Queues("clip", backlog)  # type: ignore[arg-type]
    seqs = [backlog.add(priority=BACKGROUND), backlog.add()]
    await both.fill()
    both.finished(both.take_all())
    await both.bring_back(seqs)
    assert (len(both.normal), len(both.background)) == (1, 1)


async def test_a_plugin_with_a_request_is_not_drained(backlog):
    both = Queues("clip", backlog)  # type: ignore[arg-type]
    await both.fill()
    assert both.is_drained
    both.urgent.append(Request({}, asyncio.get_running_loop().create_future()))
    assert not both.is_drained

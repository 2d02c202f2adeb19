"""Jobs to workers, results to the journal: with the real journal, library and leases, and workers that do as told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from hooks.model import Device, Variant
from hooks.wire import Message
from host import crew, processes
from host import dispatcher as dispatching
from host.config import Jobs
from host.crew import Crew
from host.dispatcher import Dispatcher, Progress
from host.errors import JournalError, WorkFailed
from host.families import Families
from host.identify import identify
from host.journal import Journal, Statement
from host.leasing.devices import SimulatedGauge
from host.leasing.leases import Leases
from host.library import Library
from host.plugin_manager import LIGHT, Plugin
from host.remains import Register
from host.reports import event_view
from host.routes import Routes
from host.views import ResultView
from host.workers import Launch, WorkerFailed
from tests.until import until

DEVICES = [
    Device(name="cpu", kind="cpu", memory_mb=1000),
    Device(name="light", kind="none", memory_mb=1000),
    Device(name="gpu0", kind="gpu", memory_mb=1000),
]
Each = Callable[[Message], None]


def fail(code: str, message: str = "It went wrong.", *, alive: bool = True) -> None:
    raise WorkerFailed(code, message, "Do this.", "the traceback", alive=alive)


def caption(event: str, text: str = "a circle") -> Message:
    return Message({"op": "result", "event": event, "type": "caption", "version": 1, "data": {"text": text}})


@dataclass
class Behaviour:
    """What the workers of one plugin do, and what they were asked."""

    load: Callable[[Device], Any] = lambda device: None
    run: Callable[[list[dict], Each], Any] = lambda events, each: [each(caption(event["id"])) for event in events]
    batches: list[list[str]] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    check: Callable[[Launch], None] = lambda launch: None
    check_load: Callable[[Launch], None] = lambda launch: None
    ended: int = 0
    gate: asyncio.Event | None = None


class FakeWorker:
    """A worker without a process."""

    behaviours: dict[str, Behaviour]

    def __init__(self, launch: Launch, on_exit: Callable[[], None]) -> None:
        self.launch, self.on_exit = launch, on_exit
        self.behaviour = self.behaviours[launch.plugin]
        self.pid, self.memory_mb, self.killed = 4711, 50.0, False
        self.mark, self.requests, self.at_work, self.left = f"mark {id(self)}", 0, False, []
        self.resident_mb, self.first_mb, self.outside = 0.0, None, []

    async def start(self) -> None:
        self.behaviour.devices.append(self.launch.device.name)
        self.behaviour.launches.append(self.launch)

    async def load(self) -> None:
        await asyncio.sleep(0)
        self.behaviour.check_load(self.launch)
        if isinstance(result := self.behaviour.load(self.launch.device), asyncio.Event):
            await result.wait()

    async def request(self, body: dict, *, limit: float, each: Each, last: str = "done", blobs: Any = ()) -> None:
        events = body.get("events", [{"id": ""}])
        self.behaviour.batches.append([event.get("name", "?") for event in events])
        if self.behaviour.gate is not None:
            await self.behaviour.gate.wait()
        await asyncio.sleep(0)
        if self.killed:
            fail("died", "killed", alive=False)
        self.behaviour.check(self.launch)
        self.behaviour.run(events, each)

    async def stop(self) -> None:
        await self.kill()

    async def kill(self) -> None:
        self.kill_soon()
        self.behaviour.ended += 1

    def kill_soon(self) -> None:
        self.killed = True
        if self.behaviour.gate is not None:
            self.behaviour.gate.set()


@dataclass
class Desk:
    """A dispatcher at work, and the journal it writes to."""

    journal: Journal
    library: Library
    leases: Leases
    dispatcher: Dispatcher
    behaviours: dict[str, Behaviour]

    def __getitem__(self, plugin: str) -> Behaviour:
        return self.behaviours[plugin]

    async def arrive(self, *names: str, plugins: tuple[str, ...] = ("clip",), kind: str = "image", background=False):
        """Commit events with these names and a job for each plugin, as the intake does."""
        for name in names:
            stored = self.library.add_bytes(name.encode(), ".png")
            event = {
                "id": name, "kind": kind, "media_type": "image/png", "sha256": stored.sha256, "size": stored.size,
                "location": self.library.location_of(stored.path), "mark": "", "name": name, "source": "inbox",
                "origin": name, "tags": "[]", "metadata": "{}", "parent": None, "created": 1.0,
            }  # fmt: skip
            arrival = {"source": "inbox", "origin": name, "revision": "1", "changed": 1, "event_id": name, "seen": 1.0}
            await self.journal.write(
                Statement("insert_event", [event]),
                Statement("insert_arrival", [arrival]),
                Statement(
                    "insert_background_job" if background else "insert_job",
                    [{"event_id": name, "plugin": one, "queued": 1.0} for one in plugins],
                ),
            )
        self.dispatcher.notify(plugins)

    async def done(self) -> None:
        """Wait until nothing is queued or running."""
        await until(self.dispatcher.is_idle)

    async def job(self, event: str, plugin: str = "clip") -> dict[str, Any]:
        rows = await self.journal.rows("jobs_of_event", event_id=event)
        row = next(dict(row) for row in rows if row["plugin"] == plugin)
        return {**row, "error": json.loads(row["error"] or "{}")}

    async def states(self, *events: str) -> list[str]:
        return [(await self.job(event))["state"] for event in events]

    async def texts(self, event: str) -> list[str]:
        return [result.data["text"] for result in await self.results(event)]

    async def results(self, event: str) -> list[ResultView]:
        return (await event_view(event, self.journal, self.library)).results


def plugin(name: str, **spec: Any) -> Plugin:
    found = LIGHT.model_copy(update={"name": name, **spec})
    return Plugin(name, "1.0", "test", name, frozenset({"on_image", "on_text"}), {}, found, True, None)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def at_work(journal: Journal, library: Library, *plugins: Plugin) -> AsyncIterator[Desk]:
    FakeWorker.behaviours = {one.name: Behaviour() for one in plugins}
    leases = Leases(DEVICES)
    jobs, scratch = Jobs(attempts=3, backoff=(0.01, 0.02)), journal.path.parent / "scratch"
    families = Families(journal, library, Routes((), {one.name: one.event_hooks for one in plugins}), identify)
    crew = Crew([SimulatedGauge(device) for device in DEVICES], Register(None))
    dispatcher = Dispatcher(plugins, journal, library, leases, families, crew, jobs, scratch)
    desk = Desk(journal, library, leases, dispatcher, FakeWorker.behaviours)
    async with asyncio.TaskGroup() as tasks:
        helper = tasks.create_task(dispatcher.run())
        leasing = tasks.create_task(leases.run(dispatcher))
        yield desk
        leases.close()
        await leasing
        await dispatcher.settle()
        helper.cancel()
    await dispatcher.end()


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "Worker", FakeWorker)
    monkeypatch.setattr(processes, "families", lambda marks: {mark: [psutil.Process()] for mark in marks})


@pytest.fixture
async def desk(journal: Journal, library: Library) -> AsyncIterator[Desk]:
    async with at_work(journal, library, plugin("clip", batch=4), plugin("other", batch=4)) as desk:
        yield desk


# -- what goes well --------------------------------------------------------------------------------------------------


async def test_results_are_committed_with_where_they_came_from_and_the_arrival_is_owed(desk):
    owed = asyncio.Event()
    desk.dispatcher.ledger.on_owed = owed.set
    await desk.arrive("a")
    await desk.done()
    (result,) = await desk.results("a")
    provenance = result.provenance
    assert (result.type, result.data) == ("caption", {"text": "a circle"})
    assert (provenance["plugin_version"], provenance["device"], len(provenance["input_sha256"])) == ("1.0", "light", 64)
    assert await desk.states("a") == ["done"]
    assert len(await desk.journal.rows("owed", sink="sidecar", limit=9)) == 1
    assert owed.is_set()


async def test_jobs_are_worked_on_in_batches_of_the_model_s_size(desk):
    await desk.arrive(*"abcdefghi")
    await desk.done()
    batches = desk["clip"].batches
    assert sorted(name for batch in batches for name in batch) == list("abcdefghi")
    assert max(len(batch) for batch in batches) <= 4


async def test_each_plugin_gets_its_own_job(desk):
    await desk.arrive("a", plugins=("clip", "other"))
    await desk.done()
    assert [(await desk.job("a", name))["state"] for name in ("clip", "other")] == ["done", "done"]


async def test_what_was_found_before_is_replaced_by_what_is_found_now(desk):
    await desk.arrive("a")
    await desk.done()
    desk["clip"].run = lambda events, each: [each(caption(event["id"], "a square")) for event in events]
    await desk.journal.write(Statement("requeue_job", [{"seq": (await desk.job("a"))["seq"], "queued": 2.0}]))
    await desk.dispatcher.take_back("clip", [(await desk.job("a"))["seq"]])
    await desk.done()
    assert await desk.texts("a") == ["a square"]


async def test_a_request_is_answered_before_any_job(desk):
    desk["clip"].gate = asyncio.Event()
    await desk.arrive("a")
    await until(lambda: desk["clip"].batches)
    await desk.arrive("b")
    asking = asyncio.create_task(desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]}))
    await asyncio.sleep(0)
    desk["clip"].gate.set()
    (finding,) = await asking
    assert finding.data == {"text": "a circle"}
    await desk.done()
    assert desk["clip"].batches == [["a"], ["?"], ["b"]]


@pytest.mark.parametrize(("lately", "batches"), [(60.0, [1, 1, 1, 1, 1]), (0.0, [4, 1])])
async def test_while_somebody_asks_batches_are_a_quarter_as_long_so_that_the_next_request_waits_less(
    desk, monkeypatch, lately, batches
):
    monkeypatch.setattr(dispatching, "ASKED_LATELY", lately)
    await desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]})
    desk.leases.pause(True)
    await desk.arrive(*"abcde")
    await until(lambda: desk.leases.slots["clip"].waiting == 5)
    desk.leases.pause(False)
    await desk.done()
    assert [len(batch) for batch in desk["clip"].batches[1:]] == batches


async def test_a_request_of_somebody_who_has_gone_is_not_worked_on(desk):
    hold = desk["clip"].gate = asyncio.Event()
    await desk.arrive("a")
    await until(lambda: desk["clip"].batches)
    asking = asyncio.create_task(desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]}))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.sleep(0)
    hold.set()
    await desk.done()
    assert desk["clip"].batches == [["a"]]


async def test_background_jobs_wait_for_the_normal_ones_and_are_done(desk):
    desk["clip"].gate = asyncio.Event()
    await desk.arrive("a")
    await until(lambda: desk["clip"].batches)
    await desk.arrive("later", background=True)
    await desk.arrive("b")
    await until(lambda: desk.leases.slots["clip"].waiting == 2)
    desk["clip"].gate.set()
    await desk.done()
    assert desk["clip"].batches == [["a"], ["b"], ["later"]]


async def test_progress_is_known_while_a_batch_runs_and_forgotten_afterwards(desk):
    seen = {}

    def run(events: list[dict], each: Each) -> None:
        each(Message({"op": "progress", "event": "a", "fraction": 0.5, "text": ""}))
        seen.update(desk.dispatcher.progress)

    desk["clip"].run = run
    await desk.arrive("a")
    await desk.done()
    assert (seen, desk.dispatcher.progress) == ({("clip", "a"): Progress(0.5, "")}, {})


# -- what goes wrong with a batch ------------------------------------------------------------------------------------


def poison(*names: str, code: str = "exception", alive: bool = True) -> Callable[[list[dict], Each], None]:
    """Fail every batch that has one of these in it."""

    def run(events: list[dict], each: Each) -> None:
        for event in events:
            if event["name"] in names:
                fail(code, alive=alive)
            each(caption(event["id"]))

    return run


@pytest.mark.parametrize(("code", "alive"), [("exception", True), ("died", False), ("time_limit", False)])
async def test_one_poisonous_input_fails_after_three_attempts_and_its_neighbours_are_done(desk, code, alive):
    desk["clip"].run = poison("c", code=code, alive=alive)
    await desk.arrive(*"abcd")
    await desk.done()
    assert await desk.states(*"abcd") == ["done", "done", "failed", "done"]
    job = await desk.job("c")
    assert (job["attempts"], job["error"]["code"], job["error"]["hint"]) == (3, code, "Do this.")
    assert job["error"]["detail"] == "the traceback"
    assert desk["clip"].batches.count(["c"]) == 3
    assert [await desk.texts(name) for name in "abcd"] == [["a circle"], ["a circle"], [], ["a circle"]]


async def test_a_failed_batch_alone_counts_against_none_of_its_members(desk):
    failures = iter([True])
    desk["clip"].run = lambda events, each: fail("exception") if next(failures, None) else None
    await desk.arrive(*"abcd")
    await desk.done()
    assert [(await desk.job(name))["attempts"] for name in "abcd"] == [0, 0, 0, 0]


async def test_a_job_that_failed_waits_longer_before_each_attempt(desk):
    began: list[float] = []

    def run(events: list[dict], each: Each) -> None:
        began.append(time.monotonic())
        fail("exception")

    desk["clip"].run = run
    await desk.arrive("a")
    await desk.done()
    assert began[1] - began[0] >= 0.009
    assert began[2] - began[1] >= 0.019


async def test_a_job_that_waits_for_another_try_survives_a_restart_as_it_is(journal, library):
    async with at_work(journal, library, plugin("clip")) as desk:
        desk.dispatcher.ledger._jobs = Jobs(attempts=3, backoff=(3600.0,))
        desk["clip"].run = poison("a")
        await desk.arrive("a")
        await until(lambda: desk.dispatcher._queues["clip"].due_in is not None)
        job = await desk.job("a")
    assert (job["state"], job["attempts"], job["alone"]) == ("queued", 1, 1)
    assert job["not_before"] > time.time() + 3000
    async with at_work(journal, library, plugin("clip")) as desk:
        await until(lambda: desk.dispatcher._queues["clip"].due_in is not None)
        assert desk["clip"].batches == []


@pytest.mark.parametrize("code", ["bad_input", "unavailable", "invalid_plugin"])
async def test_what_cannot_get_better_is_tried_once(desk, code):
    desk["clip"].run = poison("a", code=code)
    await desk.arrive("a")
    await desk.done()
    job = await desk.job("a")
    assert (job["state"], job["attempts"], desk["clip"].batches) == ("failed", 1, [["a"]])


async def test_a_verdict_on_one_event_fails_that_one_alone(desk):
    def run(events: list[dict], each: Each) -> None:
        for event in events:
            torn = Message({"op": "failure", "event": event["id"], "reason": "It is torn."})
            each(torn if event["name"] == "b" else caption(event["id"]))

    desk["clip"].run = run
    await desk.arrive(*"abc")
    await desk.done()
    assert await desk.states(*"abc") == ["done", "failed", "done"]
    assert (await desk.job("b"))["error"]["message"] == "It is torn."


@pytest.mark.parametrize(
    "body",
    [
        {"type": 5, "version": 1, "data": {}},
        {"type": "x", "version": "new", "data": {}},
        {"type": "x", "version": 1, "data": ["list"]},
        {"type": "embedding", "version": 1, "data": {}},
        {"type": "embedding", "version": 1, "data": {"space": "s"}},
    ],
)
async def test_a_result_that_the_journal_could_not_keep_fails_its_job_and_not_the_host(desk, body):
    desk["clip"].run = lambda events, each: each(Message({"op": "result", "event": events[0]["id"], **body}))
    await desk.arrive("a")
    await desk.done()
    assert (await desk.job("a"))["error"]["code"] == "invalid_plugin"


async def test_content_that_went_away_fails_its_job_and_says_what_to_do(desk):
    desk["clip"].gate = asyncio.Event()
    await desk.arrive("first")
    await until(lambda: desk["clip"].batches)
    await desk.arrive("a", "b")
    row = await desk.journal.row("event", id="a")
    desk.library.resolve(row["location"]).unlink()
    desk["clip"].gate.set()
    await desk.done()
    assert await desk.states("a", "b") == ["failed", "done"]
    error = (await desk.job("a"))["error"]
    assert error["code"] == "gone"
    assert "Put the file back" in error["hint"]


async def test_a_worker_that_was_lost_before_it_took_its_batch_costs_no_attempt(desk):
    lost = iter([True])
    desk["clip"].run = lambda events, each: fail("lost", alive=False) if next(lost, None) else None
    await desk.arrive(*"ab")
    await desk.done()
    assert [(job["state"], job["attempts"], job["alone"]) for job in [await desk.job("a"), await desk.job("b")]] == [
        ("done", 0, 0),
        ("done", 0, 0),
    ]


async def test_workers_that_are_lost_again_and_again_are_given_up(desk):
    desk["clip"].run = lambda events, each: fail("lost", "The worker ended.", alive=False)
    await desk.arrive("a")
    await desk.done()
    assert await desk.states("a") == ["failed"]


async def test_work_done_under_an_old_lease_is_done_again(desk, monkeypatch):
    current = iter([False])
    monkeypatch.setattr(desk.leases, "is_current", lambda model, fence: next(current, True))
    await desk.arrive("a")
    await desk.done()
    assert desk["clip"].batches == [["a"], ["a"]]
    assert await desk.texts("a") == ["a circle"]


# -- out of memory ---------------------------------------------------------------------------------------------------


async def test_out_of_memory_smaller_batches_are_tried_first(desk):
    desk["clip"].run = lambda events, each: fail("out_of_memory") if len(events) > 1 else None
    await desk.arrive(*"abc")
    await desk.done()
    assert await desk.states(*"abc") == ["done", "done", "done"]


async def test_out_of_memory_the_others_leave_the_device_and_it_is_tried_once_more(desk):
    tries = iter([True])
    desk["clip"].run = lambda events, each: fail("out_of_memory") if next(tries, None) else None
    await desk.arrive("o", plugins=("other",))
    await desk.done()
    await desk.arrive("a")
    await desk.done()
    assert await desk.states("a") == ["done"]
    assert desk["other"].ended == 1
    assert (await desk.job("a"))["attempts"] == 0


async def test_out_of_memory_to_the_last_step_the_job_fails_with_what_was_tried(desk):
    desk["clip"].run = poison("a", code="out_of_memory")
    await desk.arrive("a", "b")
    await desk.done()
    assert await desk.states("a", "b") == ["failed", "done"]
    job = await desk.job("a")
    assert job["error"]["message"] == "It went wrong. It was tried again alone on light."


async def test_out_of_memory_on_a_gpu_ends_on_the_cpu_where_that_is_allowed(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto")) as desk:
        desk["clip"].run = lambda events, each: fail("out_of_memory") if desk["clip"].devices[-1] == "gpu0" else None
        await desk.arrive("a")
        await desk.done()
        assert await desk.states("a") == ["done"]
        assert desk["clip"].devices == ["gpu0", "cpu"]


async def test_out_of_memory_everywhere_names_every_step(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto")) as desk:
        desk["clip"].run = poison("a", code="out_of_memory")
        await desk.arrive("a")
        await desk.done()
        message = (await desk.job("a"))["error"]["message"]
        assert message == "It went wrong. It was tried again alone on gpu0, then on the CPU."


async def test_a_model_that_does_not_load_for_lack_of_memory_goes_down_the_same_ladder(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto")) as desk:
        desk["clip"].load = lambda device: fail("out_of_memory", "No room.") if device.kind == "gpu" else None
        await desk.arrive("a")
        await desk.done()
        assert desk["clip"].devices == ["gpu0", "gpu0", "cpu"]
        assert await desk.states("a") == ["done"]


async def test_a_request_that_runs_out_of_memory_is_tried_again_too(desk):
    tries = iter([True])
    desk["clip"].run = lambda events, each: fail("out_of_memory") if next(tries, None) else each(caption(""))
    (finding,) = await desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]})
    assert finding.data == {"text": "a circle"}


SMALL = Variant(name="small", memory_mb=100, settings={"context": 512}, batch=2)
ON_CPU = Variant(name="int8", memory_mb=300, settings={"quantization": "int8"}, device="cpu")


def only_as(*variants: str | None) -> Callable[[Launch], None]:
    """Run out of memory unless the model was loaded as one of these."""

    def check(launch: Launch) -> None:
        if (launch.spec.variant.name if launch.spec.variant else None) not in variants:
            fail("out_of_memory", "CUDA out of memory.")

    return check


async def test_out_of_memory_in_a_batch_halves_it_until_it_fits_and_batches_grow_again(journal, library):
    async with at_work(journal, library, plugin("clip", batch=8)) as desk:
        desk["clip"].run = lambda events, each: fail("out_of_memory") if len(events) > 3 else None
        await desk.arrive(*"abcdefghijklmnop")
        await desk.done()
        assert await desk.states(*"abcdefghijklmnop") == ["done"] * 16
        sizes = [len(batch) for batch in desk["clip"].batches]
        assert sizes[sizes.index(2) + 1] == 3
        assert len(desk["clip"].devices) == 1, "nothing had to be loaded again"


async def test_out_of_memory_the_variants_are_tried_in_order_and_the_result_says_so(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto", variants=(SMALL, ON_CPU))) as desk:
        desk["clip"].check = only_as("int8")
        await desk.arrive("a")
        await desk.done()
        (result,) = await desk.results("a")
        assert (result.provenance["variant"], result.provenance["device"]) == ("int8", "cpu")
        assert result.provenance["ladder"] == ["alone on gpu0", "as 'small'", "as 'int8' on the CPU"]
        assert [launch.settings for launch in desk["clip"].launches] == [
            {},
            {"context": 512},
            {"quantization": "int8"},
        ]


async def test_when_the_work_that_needed_a_variant_is_done_the_model_is_again_what_it_was(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto", variants=(SMALL,))) as desk:
        desk["clip"].check = lambda launch: only_as("small")(launch) if desk["clip"].batches[-1] == ["large"] else None
        await desk.arrive("large")
        await desk.done()
        await desk.arrive("b")
        await desk.done()
        provenances = [(await desk.results(name))[0].provenance for name in ("large", "b")]
        assert [one["variant"] for one in provenances] == ["small", None]
        assert "ladder" not in provenances[1]
        assert provenances[0]["settings_sha256"] != provenances[1]["settings_sha256"]


async def test_a_model_that_does_not_load_for_lack_of_memory_stays_with_the_variant_that_did(journal, library):
    async with at_work(journal, library, plugin("clip", device="auto", variants=(SMALL,))) as desk:
        desk["clip"].check_load = only_as("small")
        await desk.arrive("a")
        await desk.done()
        desk.leases.dismiss("clip")
        await until(lambda: desk.leases.slots["clip"].state == "unloaded")
        await desk.arrive("b")
        await desk.done()
        assert [launch.spec.variant and launch.spec.variant.name for launch in desk["clip"].launches] == [
            None,
            None,
            "small",
            "small",
        ]
        assert [launch.spec.batch for launch in desk["clip"].launches][-1] == 2


async def test_a_model_too_large_for_its_device_is_its_first_variant_that_fits_from_the_start(journal, library):
    medium = Variant(name="medium", memory_mb=1500)
    async with at_work(
        journal, library, plugin("clip", device="auto", memory_mb=5000, variants=(medium, SMALL))
    ) as desk:
        await desk.arrive("a")
        await desk.done()
        (result,) = await desk.results("a")
        assert (result.provenance["variant"], result.provenance["device"]) == ("small", "gpu0")
        assert len(desk["clip"].launches) == 1


async def test_out_of_memory_to_the_last_variant_names_every_step(journal, library):
    async with at_work(journal, library, plugin("clip", device="gpu", variants=(SMALL,))) as desk:
        desk["clip"].run = poison("a", code="out_of_memory")
        await desk.arrive("a")
        await desk.done()
        message = (await desk.job("a"))["error"]["message"]
        assert message == "It went wrong. It was tried again alone on gpu0, then as 'small'."


# -- what goes wrong with a model ------------------------------------------------------------------------------------


async def test_a_model_whose_files_are_missing_fails_what_waits_at_once_and_requeue_brings_it_back(desk):
    desk["clip"].load = lambda device: fail("unavailable", "No weights.")
    await desk.arrive(*"abc")
    await desk.done()
    assert await desk.states(*"abc") == ["failed"] * 3
    error = (await desk.job("a"))["error"]
    assert (error["message"], error["hint"]) == ("No weights.", "Do this.")
    desk["clip"].load = lambda device: None
    seqs = [(await desk.job(name))["seq"] for name in "abc"]
    await desk.journal.write(Statement("requeue_job", [{"seq": seq, "queued": 2.0} for seq in seqs]))
    await desk.dispatcher.take_back("clip", seqs)
    await desk.done()
    assert await desk.states(*"abc") == ["done"] * 3


async def test_a_model_that_fails_to_load_is_tried_three_times(desk):
    desk["clip"].load = lambda device: fail("died", alive=False)
    await desk.arrive("a")
    await desk.done()
    assert len(desk["clip"].devices) == 3
    assert (await desk.job("a"))["error"]["code"] == "died"
    assert desk["clip"].ended == 3


async def test_a_model_that_loads_at_the_second_attempt_is_as_good_as_any(desk):
    tries = iter([True])
    desk["clip"].load = lambda device: fail("died", alive=False) if next(tries, None) else None
    await desk.arrive("a")
    await desk.done()
    assert await desk.states("a") == ["done"]


async def test_requests_for_a_model_that_does_not_load_get_its_error(desk):
    desk["clip"].load = lambda device: fail("unavailable", "No weights.")
    with pytest.raises(WorkFailed, match="No weights") as caught:
        await desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]})
    assert caught.value.hint == "Do this."


async def test_jobs_and_requests_that_come_while_others_are_failed_are_neither_lost_nor_spun_on(desk, monkeypatch):
    desk["clip"].load = lambda device: fail("unavailable", "No weights.")
    asked: list[asyncio.Task] = []
    fail_jobs = desk.dispatcher.ledger.fail

    async def meanwhile(jobs, facts) -> None:
        if not asked:
            asked.append(asyncio.create_task(desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]})))
            await desk.arrive("late")
        await fail_jobs(jobs, facts)

    monkeypatch.setattr(desk.dispatcher.ledger, "fail", meanwhile)
    await desk.arrive(*"abc")
    await desk.done()
    assert await desk.states(*"abc", "late") == ["failed"] * 4
    with pytest.raises(WorkFailed, match="No weights"):
        await asked[0]


async def test_a_model_that_fits_nowhere_fails_its_jobs_with_the_numbers(journal, library):
    async with at_work(journal, library, plugin("clip", device="cpu", memory_mb=5000)) as desk:
        await desk.arrive("a")
        await desk.done()
        error = (await desk.job("a"))["error"]
        assert (error["code"], error["message"]) == ("never_fits", "clip needs 5000 MB; cpu may use 1000 MB.")


async def test_a_worker_that_dies_between_batches_is_replaced_for_the_next(desk):
    await desk.arrive("a")
    await desk.done()
    desk.dispatcher._workers["clip"].on_exit()
    await until(lambda: desk.leases.slots["clip"].state == "unloaded")
    await desk.arrive("b")
    await desk.done()
    assert len(desk["clip"].devices) == 2
    assert (await desk.job("b"))["attempts"] == 0


# -- a full disk, a broken journal, the end --------------------------------------------------------------------------


class Disk:
    """Makes the journal refuse writes of one kind for as long as a test wants."""

    def __init__(self, journal: Journal, statement: str, error: JournalError) -> None:
        self.full, self.refused = True, 0
        self._write, self._statement, self._error = journal.write, statement, error
        journal.write = self.write  # type: ignore[method-assign]

    async def write(self, *statements: Statement) -> None:
        if self.full and any(one.name == self._statement and one.rows for one in statements):
            self.refused += 1
            raise self._error
        await self._write(*statements)


NO_ROOM = JournalError("database or disk is full", passing=True)


async def test_while_the_disk_is_full_results_are_held_and_then_stored(desk):
    desk.dispatcher.ledger._pause = 0.005
    disk = Disk(desk.journal, "finish_job", NO_ROOM)
    await desk.arrive("a")
    await until(lambda: disk.refused > 2)
    assert not desk.dispatcher.is_idle()
    disk.full = False
    await desk.done()
    assert await desk.texts("a") == ["a circle"]
    assert desk["clip"].batches == [["a"]]


async def test_while_the_disk_is_full_no_more_than_two_batches_run_ahead(desk):
    desk.dispatcher.ledger._pause = 0.005
    disk = Disk(desk.journal, "finish_job", NO_ROOM)
    await desk.arrive(*"abcdefghijklmnopqrst")
    await until(lambda: disk.refused > 10)
    assert len(desk["clip"].batches) <= dispatching.COMMITS_AHEAD + 1
    disk.full = False
    await desk.done()


async def test_a_host_that_ends_on_a_full_disk_leaves_its_jobs_queued(journal, library):
    async with at_work(journal, library, plugin("clip")) as desk:
        disk = Disk(journal, "finish_job", NO_ROOM)
        await desk.arrive("a")
        await until(lambda: disk.refused)
    assert await desk.states("a") == ["queued"]


async def test_a_commit_that_can_never_succeed_ends_the_host_with_its_reason(journal, library):
    async def host() -> None:
        async with at_work(journal, library, plugin("clip")) as desk:
            Disk(journal, "finish_job", JournalError("FOREIGN KEY constraint failed"))
            await desk.arrive("a")
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        await asyncio.wait_for(host(), 20)
    assert "FOREIGN KEY" in repr(caught.value.exceptions)


async def test_a_killed_host_counts_nothing_against_the_jobs_that_ran(journal, library):
    async with at_work(journal, library, plugin("clip", batch=4)) as desk:
        desk["clip"].gate = asyncio.Event()
        await desk.arrive(*"ab")
        await until(lambda: desk["clip"].batches)
        desk.leases.close()
        desk.dispatcher.kill()
    jobs = [await desk.job(name) for name in "ab"]
    assert [(job["state"], job["attempts"], job["alone"]) for job in jobs] == [("queued", 0, 0)] * 2


async def test_a_stopped_host_finishes_and_commits_the_batch_that_runs(journal, library):
    async with at_work(journal, library, plugin("clip", batch=2)) as desk:
        gate = desk["clip"].gate = asyncio.Event()
        await desk.arrive(*"abcd")
        await until(lambda: desk["clip"].batches)
        desk.leases.close()
        gate.set()
    ran = desk["clip"].batches[0]
    assert len(desk["clip"].batches) == 1
    assert await desk.states(*"abcd") == ["done" if name in ran else "queued" for name in "abcd"]
    assert desk["clip"].ended == 1


async def test_a_host_that_ends_while_a_model_loads_leaves_no_worker_and_fails_nothing(journal, library):
    async with at_work(journal, library, plugin("clip")) as desk:
        loading = asyncio.Event()
        desk["clip"].load = lambda device: loading
        await desk.arrive("a")
        await until(lambda: desk["clip"].devices)
    assert await desk.states("a") == ["queued"]
    assert desk["clip"].ended == 1


async def test_who_still_waits_for_an_answer_when_the_host_ends_is_told_so(journal, library):
    async with at_work(journal, library, plugin("clip")) as desk:
        desk["clip"].load = lambda device: asyncio.Event()
        asking = asyncio.create_task(desk.dispatcher.ask("clip", {"op": "query", "texts": ["x"]}))
        await until(lambda: desk["clip"].devices)
    with pytest.raises(WorkFailed, match="ended"):
        await asking


async def test_nothing_is_idle_before_it_is_committed(desk):
    looks: list[bool] = []
    write = desk.journal.write

    async def slow(*statements: Statement) -> None:
        looks.append(desk.dispatcher.is_idle())
        await write(*statements)
        looks.append(desk.dispatcher.is_idle())

    await desk.arrive("a")
    desk.journal.write = slow  # type: ignore[method-assign]
    await desk.done()
    assert looks
    assert not any(looks)


def test_the_schema_knows_no_state_for_running(journal):
    """A crash makes a running job a queued one by itself."""
    with contextlib.closing(sqlite3.connect(journal.path)) as connection:  # noqa: SIM117 - only one line may raise
        with pytest.raises(sqlite3.IntegrityError, match="state IN"):
            connection.execute("INSERT INTO jobs (event_id, plugin, state, queued) VALUES ('a', 'b', 'running', 1)")

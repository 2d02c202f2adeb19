"""A watched folder, for real: watchdog, files and a journal, and everything in time for a person to see it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.inotify_c import InotifyFD

from host.config import Inbox
from host.errors import JournalError, LibraryError
from host.identify import identify
from host.intake import Intake
from host.journal import Journal
from host.library import Library
from host.routes import Routes
from host.sources import files, folder, scan, watch
from host.sources.folder import FolderSource
from host.sources.scan import CLAIM

QUIET = 0.1
NAMESPACE = ("unshare", "--user", "--map-root-user", "sh", "-c")
LIMIT = 30.0
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def may_limit_watches() -> bool:
    """Whether this machine lets anybody have limits of their own."""
    try:
        asked = [*NAMESPACE, "test -w /proc/sys/user/max_inotify_watches"]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@dataclass
class Desk:
    """An inbox with all that stands behind it."""

    inbox: Path
    journal: Journal
    library: Library
    steps: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.intake = Intake(
            self.journal, self.library, Routes((), {"words": frozenset({"on_text"})}), identify, self.steps.append
        )

    @asynccontextmanager
    async def source(self, **settings: Any) -> AsyncIterator[FolderSource]:
        """The inbox, watched for as long as the block lasts."""
        options = {name: settings.pop(name) for name in ("observe", "skip") if name in settings}
        rules = Inbox(path=self.inbox, **{"name": "inbox", "quiet": QUIET, "scan_every": 3600.0, **settings})
        options |= {"on_refused": self._note, "on_withdrawn": self._forget}
        source = FolderSource(rules, self.intake, self.journal, **options)
        task = asyncio.create_task(source.run())
        try:
            yield source
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _note(self, refused: list[tuple[str, str]]) -> None:
        self.refused.update(refused)

    def _forget(self, origins: list[str]) -> None:
        for origin in origins:
            del self.refused[origin]

    def put(self, name: str, content: str | None = None) -> Path:
        """A file with a content of its own, unless one is given."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}" if content is None else content)
        return path

    async def arrivals(self) -> list[str]:
        """The origins of all accepted arrivals."""
        rows = await self.journal._reader.execute_fetchall("SELECT origin FROM arrivals WHERE state = 'accepted'")
        return sorted(row["origin"] for row in rows)

    async def counts(self) -> dict[str, int]:
        row = await self.journal.row("counts")
        assert row is not None
        return dict(row)

    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.inbox)) for path in self.inbox.rglob("*") if not path.is_dir())


@pytest.fixture
def desk(tmp_path: Path, journal: Journal, library: Library):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    desk = Desk(inbox, journal, library)
    yield desk
    desk.intake.close()


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what other threads and the system bring about; the limit is for a broken host only."""
    async with asyncio.timeout(LIMIT):
        while True:
            met = condition()
            if asyncio.iscoroutine(met):
                met = await met
            if met:
                return
            await asyncio.sleep(0.01)


async def took_in(desk: Desk, *names: str) -> None:
    async def all_there() -> bool:
        return await desk.arrivals() == sorted(names)

    await until(all_there)


async def refusals(desk: Desk, count: int) -> None:
    async def so_many() -> bool:
        return (await desk.counts())["refused"] == count

    await until(so_many)


async def idle(source: FolderSource) -> None:
    async with asyncio.timeout(LIMIT):
        await source.idle.wait()


# -- noticing --------------------------------------------------------------------------------------------------------


async def test_files_that_were_there_before_are_taken_in(desk):
    desk.put("a.txt")
    desk.put("sub/b.txt")
    async with desk.source() as source:
        await took_in(desk, "a.txt", "sub/b.txt")
        await idle(source)
        assert desk.left() == []


async def test_files_that_come_while_it_watches_are_taken_in(desk):
    async with desk.source() as source:
        await idle(source)
        desk.put("written.txt")
        desk.put("other.part").rename(desk.inbox / "moved.txt")
        os.link(desk.put("linked.tmp"), desk.inbox / "linked.txt")
        await took_in(desk, "written.txt", "moved.txt", "linked.txt")


async def test_folders_made_and_folders_moved_in_whole_are_seen(desk, tmp_path):
    whole = tmp_path / "whole"
    for name in ("a.txt", "deep/b.txt", "deep/deeper/c.txt"):
        path = whole / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    async with desk.source() as source:
        await idle(source)
        desk.put("made/now/d.txt")
        whole.rename(desk.inbox / "whole")
        await took_in(desk, "made/now/d.txt", "whole/a.txt", "whole/deep/b.txt", "whole/deep/deeper/c.txt")
        desk.put("whole/deep/later.txt")
        await until(lambda: "whole/deep/later.txt" not in desk.left())


async def test_a_burst_is_taken_in_whole(desk):
    async with desk.source() as source:
        await idle(source)
        names = [f"{number % 7}/{number}.txt" for number in range(3000)]
        await asyncio.to_thread(lambda: [desk.put(name) for name in names])
        await took_in(desk, *names)
        await idle(source)
        assert desk.left() == []


async def test_a_burst_larger_than_the_window_waits_in_its_folder(desk, monkeypatch):
    monkeypatch.setattr(folder, "WINDOW", 200)
    monkeypatch.setattr(scan, "PORTION", 50)
    most: list[int] = []
    names = [f"{number % 5}/{number}.txt" for number in range(2000)]
    for name in names:
        desk.put(name)
    async with desk.source(observe=lambda step: most.append(source.settling + source.taking)) as source:
        await took_in(desk, *names)
        await idle(source)
    assert desk.left() == []
    assert max(most) <= 200 + 50


@pytest.mark.skipif(not QUEUE.exists(), reason="only inotify has a queue that can be filled")
async def test_what_the_kernels_full_queue_dropped_is_found(desk, monkeypatch):
    """The reader of the queue is held until more was written than it takes: the rest is never reported."""
    go_on, read = threading.Event(), InotifyFD.read_events

    def read_late(self: InotifyFD, **options: Any) -> Any:
        go_on.wait(LIMIT)
        return read(self, **options)

    lost: list[bool] = []
    noticed = watch.Watch._lost_some
    monkeypatch.setattr(InotifyFD, "read_events", read_late)
    monkeypatch.setattr(watch.Watch, "_lost_some", lambda self: (lost.append(True), noticed(self)))

    def overflow() -> None:
        for number in range(int(QUEUE.read_text()) // 2 + 100):  # each is created and closed
            (desk.inbox / f"{number}.tmp").write_bytes(b"")  # junk: only there to fill the queue

    async with desk.source() as source:
        await idle(source)
        await asyncio.to_thread(overflow)
        desk.put("dropped/late.txt")  # the queue is full: nobody hears of it
        go_on.set()
        await took_in(desk, "dropped/late.txt")
        assert lost


async def test_a_polled_folder_is_looked_at_without_notifications(desk, monkeypatch):
    monkeypatch.setattr(watch, "new_observer", None)  # would fail if it were used
    async with desk.source(mode="poll", poll_every=0.1) as source:
        await idle(source)
        desk.put("a/b.txt")
        await took_in(desk, "a/b.txt")
        assert source.alarm == ""


async def test_a_folder_that_the_system_will_not_watch_is_polled_with_an_alarm(desk, monkeypatch):
    def refuses(skip: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(watch, "new_observer", refuses)
    async with desk.source(poll_every=0.1) as source:
        await idle(source)
        assert "it is polled instead" in source.alarm
        desk.put("a.txt")
        await took_in(desk, "a.txt")


async def test_junk_and_ignored_names_stay_where_they_are(desk):
    for name in (".hidden", "a.part", "x.log", ".git/config", "raw/b.txt", "keep.txt"):
        desk.put(name)
    async with desk.source(ignore=("*.log", "raw")) as source:
        await took_in(desk, "keep.txt")
        desk.put(".git/index")
        desk.put("raw/c.txt")
        desk.put("second.txt")
        await took_in(desk, "keep.txt", "second.txt")
        await idle(source)
        assert source.state_of(str(desk.inbox / "raw" / "c.txt")) == "ignored"
    assert await desk.arrivals() == ["keep.txt", "second.txt"]


async def test_a_file_is_taken_in_only_when_nobody_writes_to_it_any_more(desk):
    async with desk.source(quiet=0.3) as source:
        await idle(source)
        with (desk.inbox / "slow.txt").open("w") as file:
            for number in range(8):
                file.write(f"part {number}\n")
                file.flush()
                await asyncio.sleep(0.1)
            assert await desk.arrivals() == []
            assert source.state_of(str(desk.inbox / "slow.txt")) == "settling"
        await took_in(desk, "slow.txt")
    [event] = await desk.journal.rows("latest_events", limit=10)
    assert event["size"] == len("part 0\n") * 8


async def test_with_a_marker_a_file_waits_for_it_and_both_go(desk):
    async with desk.source(marker=".done") as source:
        desk.put("film.txt")
        desk.put("marked.txt")
        desk.put("marked.txt.done", "")
        await took_in(desk, "marked.txt")
        await idle(source)
        assert desk.left() == ["film.txt"]
        desk.put("film.txt.done", "")
        await took_in(desk, "film.txt", "marked.txt")
        await until(lambda: desk.left() == [])


async def test_folders_become_tags(desk):
    desk.put("holiday/2026/a.txt")
    async with desk.source(tags=("all", "2026"), tags_from_folders=True):
        await took_in(desk, "holiday/2026/a.txt")
    [event] = await desk.journal.rows("latest_events", limit=10)
    assert event["tags"] == '["all", "2026", "holiday"]'


# -- what becomes of the file ----------------------------------------------------------------------------------------


async def test_a_done_folder_in_the_inbox_keeps_what_was_taken_in_and_is_not_taken_in_itself(desk):
    async with desk.source(after="done") as source:
        desk.put("a.txt")
        desk.put("sub/b.txt")
        await took_in(desk, "a.txt", "sub/b.txt")
        await until((desk.inbox / "done/sub/b.txt").exists)  # or the new content would be written into the old file
        desk.put("sub/b.txt", "another one")
        await took_in(desk, "a.txt", "sub/b.txt", "sub/b.txt")
        await until(lambda: not (desk.inbox / "sub/b.txt").exists() and not source.taking)
        await idle(source)
        source._plan.ask_whole()
        source._notice({str(desk.inbox / "done"): True}, 1)
        await idle(source)
    assert desk.left() == ["done/a.txt", "done/sub/b (2).txt", "done/sub/b.txt"]
    assert len(await desk.arrivals()) == 3


async def test_a_kept_file_stays_and_is_taken_in_once(desk):
    path = desk.put("a.txt")
    async with desk.source(after="keep", mode="poll", poll_every=0.1):
        await took_in(desk, "a.txt")
    async with desk.source(after="keep") as source:
        desk.put("b.txt")
        await took_in(desk, "a.txt", "b.txt")
        await idle(source)
    assert desk.left() == ["a.txt", "b.txt"]
    events = await desk.journal.rows("latest_events", limit=10)
    assert str(path) in [event["location"] for event in events]
    assert [path for path in desk.library.root.rglob("*") if path.is_file()] == []


async def test_a_kept_file_that_changes_is_an_event_of_its_own(desk):
    async with desk.source(after="keep"):
        desk.put("a.txt", "first")
        await took_in(desk, "a.txt")
        desk.put("a.txt", "second")
        await took_in(desk, "a.txt", "a.txt")
    assert (await desk.counts())["events"] == 2


async def test_the_same_content_twice_is_one_event_with_two_arrivals(desk):
    async with desk.source():
        desk.put("a.txt", "the same")
        await took_in(desk, "a.txt")
        desk.put("copy.txt", "the same")
        await took_in(desk, "a.txt", "copy.txt")
    counts = await desk.counts()
    assert (counts["events"], counts["queued"]) == (1, 1)


async def test_a_name_that_comes_again_with_another_content_is_taken_in_again(desk):
    async with desk.source() as source:
        for content in ("one", "two", "three"):
            desk.put("camera.txt", content)
            await until(lambda: not desk.left())
            await idle(source)
    assert await desk.arrivals() == ["camera.txt"] * 3
    assert (await desk.counts())["events"] == 3


async def test_a_file_replaced_between_reading_and_removing_is_taken_in_too(desk):
    replaced: list[str] = []

    def replace(step: str) -> None:
        if step == "before unlink" and not replaced:
            replaced.append(step)
            desk.put("a.txt", "the second content")

    desk.put("a.txt", "the first content")
    async with desk.source(observe=replace):
        await took_in(desk, "a.txt", "a.txt")
        await until(lambda: desk.left() == [])
    assert (await desk.counts())["events"] == 2


async def test_a_claim_that_a_crash_left_is_finished(desk):
    desk.put(f"{CLAIM}a.txt", "the content")
    desk.put(f"sub/{CLAIM}b.txt")
    async with desk.source() as source:
        await took_in(desk, "a.txt", "sub/b.txt")
        await idle(source)
        assert desk.left() == []


async def test_what_cannot_be_taken_out_is_taken_in_once_and_again_when_it_changes(desk, monkeypatch):
    def refuses(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(folder, "ALIVE_EVERY", 0.1)
    desk.put("a.txt")
    with monkeypatch.context() as read_only:
        read_only.setattr(files._Claim, "finish", refuses)
        async with desk.source(mode="poll", poll_every=0.1) as source:
            await until(lambda: "Read-only file system" in source.alarm)
            assert "safe in the library" in source.alarm
            commits = desk.journal.commits
            await idle(source)
            desk.put("b.txt")
            await took_in(desk, "a.txt", "b.txt")
            await until(lambda: desk.journal.commits == commits + 1)
            desk.put("a.txt", "changed")
            await took_in(desk, "a.txt", "a.txt", "b.txt")
            read_only.undo()
            await until(lambda: desk.left() == [])
            await until(lambda: source.alarm == "")


async def test_a_host_that_ends_amid_a_scan_ends_cleanly(desk, monkeypatch):
    entered, go = threading.Event(), threading.Event()
    listed = scan.Scanner._listed

    def slow(scanner, directory):
        entered.set()
        go.wait(LIMIT)
        yield from listed(scanner, directory)

    monkeypatch.setattr(scan.Scanner, "_listed", slow)
    source = FolderSource(Inbox(path=desk.inbox, name="inbox"), desk.intake, desk.journal)
    task = asyncio.create_task(source.run())
    await asyncio.to_thread(entered.wait, LIMIT)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go.set)
    with pytest.raises(asyncio.CancelledError):
        await task


# -- the system's limits -----------------------------------------------------------------------------------------------

# With room for four watches: an inbox with eight folders, and a ninth that is made later in one with three.
FEW_WATCHES = """
import sys, time
from pathlib import Path
from host.config import Inbox
from host.sources.watch import Watch

def watched(name, folders):
    root = Path(sys.argv[1], name)
    for number in range(folders):
        (root / str(number)).mkdir(parents=True)
    watch = Watch(Inbox(path=root, name=name), lambda directories, count: None)
    assert watch.start() == ""
    return root, watch

_, watch = watched("many", 8)
print(bool(watch.shortage))
watch.close()
root, watch = watched("few", 2)
print(bool(watch.shortage))
for number in range(4):
    (root / f"new-{number}").mkdir()
for _ in range(500):
    if watch.shortage:
        break
    time.sleep(0.01)
print(watch.shortage)
watch.close()
"""


@pytest.mark.skipif(not may_limit_watches(), reason="needs a user namespace to lower the limit of watches in")
def test_folders_that_the_system_cannot_watch_any_more_are_told_at_once(tmp_path):
    limited = 'echo 4 > /proc/sys/user/max_inotify_watches && exec "$@"'
    command = [*NAMESPACE, limited, "sh", sys.executable, "-c", FEW_WATCHES, str(tmp_path)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    at_start, with_room, later = ended.stdout.splitlines()
    assert (at_start, with_room) == ("True", "False")
    assert "sudo sysctl fs.inotify.max_user_watches=" in later


# -- refusing --------------------------------------------------------------------------------------------------------


async def test_what_is_no_file_is_refused_at_once_and_not_after_the_quiet_time(desk, tmp_path):
    """With a quiet time of an hour, whatever is refused did not wait for it."""
    async with desk.source(quiet=3600, max_size_mb=1) as source:
        os.mkfifo(desk.inbox / "pipe")
        (desk.inbox / "dangling").symlink_to(tmp_path / "nowhere")
        (desk.inbox / "outside").symlink_to("/etc/hostname")
        with (desk.inbox / "huge").open("wb") as file:
            file.truncate(2**40)
        await until(lambda: sorted(desk.refused) == ["dangling", "huge", "outside", "pipe"])
        assert source.settling == 0

        async def recorded() -> bool:
            return (await desk.counts())["refused"] == 4

        await until(recorded)
    assert desk.left() == ["dangling", "huge", "outside", "pipe"]


async def test_what_was_refused_is_not_refused_again_until_it_changes(desk):
    desk.put("empty.txt", "")
    async with desk.source() as source:
        await until(lambda: "empty.txt" in desk.refused)
        await idle(source)
        desk.refused.clear()
        commits = desk.journal.commits
        source._plan.ask_whole()
        source._wake.set()
        desk.put("other.txt")
        await took_in(desk, "other.txt")
        assert desk.refused == {}
        await until(lambda: desk.journal.commits == commits + 1)
        (desk.inbox / "empty.txt").chmod(0o600)
        source._notice({str(desk.inbox): False}, 1)
        await until(lambda: "empty.txt" in desk.refused)
        desk.put("empty.txt", "content at last")
        await took_in(desk, "empty.txt", "other.txt")
    assert (await desk.counts())["refused"] == 0


async def test_a_refusal_is_forgotten_once_its_file_is_removed_and_the_folder_is_there(desk):
    for name in ("a.txt", "sub/b.txt", "c.txt"):
        desk.put(name, "")
    async with desk.source() as source:
        await until(lambda: len(desk.refused) == 3)
        await idle(source)
        (desk.inbox / "a.txt").unlink()
        (desk.inbox / "sub" / "b.txt").unlink()
        source._plan.ask_whole()
        source._wake.set()
        await until(lambda: sorted(desk.refused) == ["c.txt"])
        await refusals(desk, 1)
        desk.inbox.rename(desk.inbox.with_name("away"))
        await until(lambda: source.alarm)
        desk.inbox.with_name("away").rename(desk.inbox)
        await until(lambda: not source.alarm)
        await idle(source)
    assert sorted(desk.refused) == ["c.txt"]


async def test_a_file_that_grows_over_the_limit_while_it_settles_is_refused(desk):
    async with desk.source(quiet=0.3, max_size_mb=1) as source:
        path = desk.put("film.bin")
        await until(lambda: source.settling == 1)
        os.truncate(path, 2**21)  # makes no notification that counts
        await until(lambda: "film.bin" in desk.refused)
        await idle(source)


# -- going away and coming back --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "ALIVE_EVERY", 0.05)


@pytest.mark.usefixtures("quick")
async def test_an_inbox_that_went_away_pauses_and_resumes_by_itself(desk, tmp_path):
    async with desk.source() as source:
        desk.put("before.txt")
        await took_in(desk, "before.txt")
        desk.inbox.rename(tmp_path / "away")
        await until(lambda: "is not there" in source.alarm)
        assert source.idle.is_set()
        (tmp_path / "away" / "meanwhile.txt").write_text("came while it was away")
        (tmp_path / "away").rename(desk.inbox)
        await took_in(desk, "before.txt", "meanwhile.txt")
        assert source.alarm == ""
        desk.put("sub/after.txt")
        await took_in(desk, "before.txt", "meanwhile.txt", "sub/after.txt")


@pytest.mark.usefixtures("quick")
async def test_another_folder_in_the_inboxs_place_is_watched_anew(desk):
    async with desk.source() as source:
        for name in ("first.txt", "second.txt", "third.txt"):
            desk.put(name)
            await until(lambda: not desk.left())
            await idle(source)
            desk.inbox.rmdir()
            desk.inbox.mkdir()  # often with the same inode number
            await until(lambda: not source._watch.has_died)
        desk.put("last.txt")
        await took_in(desk, "first.txt", "second.txt", "third.txt", "last.txt")


@pytest.mark.usefixtures("quick")
async def test_a_missing_inbox_costs_no_time_and_appears_when_it_is_made(desk, monkeypatch):
    desk.inbox.rmdir()
    async with desk.source() as source:
        await until(lambda: "is not there" in source.alarm)
        await idle(source)
        rounds: list[float] = []
        check = source._check_folder

        async def counted() -> str:
            rounds.append(source._clock())
            return await check()

        monkeypatch.setattr(source, "_check_folder", counted)
        await until(lambda: len(rounds) >= 4)
        assert rounds[-1] - rounds[0] >= 0.9 * 3 * folder.ALIVE_EVERY  # it waits between two looks
        desk.put("a.txt")
        await took_in(desk, "a.txt")


@pytest.mark.usefixtures("quick")
async def test_a_file_where_the_inbox_should_be_is_an_alarm(desk):
    desk.inbox.rmdir()
    desk.inbox.write_text("not a folder")
    async with desk.source() as source:
        await until(lambda: "Not a directory" in source.alarm)
        desk.inbox.unlink()
        desk.put("a.txt")
        await took_in(desk, "a.txt")


@pytest.mark.usefixtures("quick")
async def test_an_inbox_that_cannot_be_listed_is_tried_again(desk, monkeypatch):
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if path == str(desk.inbox):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as locked:
        locked.setattr(os, "scandir", closed)
        async with desk.source() as source:
            desk.put("a.txt")
            await until(lambda: "cannot be listed (Permission denied)" in source.alarm)
            locked.undo()
            await took_in(desk, "a.txt")
            await until(lambda: source.alarm == "")


# -- a full disk -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
async def test_when_nothing_can_be_stored_everything_stays_and_comes_again(desk, monkeypatch):
    def full(*arguments: Any) -> None:
        raise LibraryError("The library cannot be written: No space left on device.", "Make room on that disk.")

    names = [f"{number}.txt" for number in range(20)]
    for name in names:
        desk.put(name)
    with monkeypatch.context() as patch:
        patch.setattr(desk.library, "add_bytes", full)
        async with desk.source() as source:
            await until(lambda: "Nothing can be taken in" in source.alarm)
            assert "Make room" in source.alarm
            assert not source.idle.is_set()
            assert desk.left() == sorted(names)
            patch.undo()
            await took_in(desk, *names)
            await until(lambda: source.alarm == "")
            await until(lambda: desk.left() == [])


@pytest.mark.parametrize("first", ["", "half"])
async def test_a_file_that_changes_while_it_is_taken_in_comes_again(desk, monkeypatch, first):
    """What tells of the change is heard, and the file found, while the file is still in hand."""
    accept = desk.intake.accept

    async with desk.source(after="keep") as source:

        async def late(arrivals: Any) -> Any:
            verdicts = await accept(arrivals)
            monkeypatch.undo()
            desk.put("cat.txt", "the whole")
            await until(lambda: source._overtaken)
            return verdicts

        monkeypatch.setattr(desk.intake, "accept", late)
        desk.put("cat.txt", first)
        await took_in(desk, *["cat.txt"] * (2 if first else 1))


@pytest.mark.usefixtures("quick")
async def test_a_refusal_that_cannot_be_recorded_is_tried_again(desk, monkeypatch):
    async def full(*statements: Any) -> None:
        raise JournalError("The journal refused a write: database or disk is full.", "Make room on that disk.")

    with monkeypatch.context() as patch:
        patch.setattr(desk.journal, "write", full)
        async with desk.source() as source:
            os.mkfifo(desk.inbox / "pipe")
            await until(lambda: "Make room" in source.alarm)
            assert not source.idle.is_set()
            patch.undo()
            await until(lambda: source.alarm == "")
            await idle(source)
    assert (await desk.counts())["refused"] == 1


@pytest.fixture
def small_disk(tmp_path: Path):
    """A real file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
@pytest.mark.usefixtures("quick")
async def test_a_disk_that_is_really_full_pauses_the_inbox_and_loses_nothing(tmp_path, journal, small_disk):
    library = Library(small_disk / "library")
    library.prepare()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024))
    (tmp_path / "inbox").mkdir()
    desk = Desk(tmp_path / "inbox", journal, library)
    names = [f"{number}.txt" for number in range(12)]
    for name in names:
        desk.put(name, name * 40_000)  # 200 to 240 KB each: less than half of them fit
    async with desk.source() as source:
        await until(lambda: "No space left on device" in source.alarm)
        accepted = await desk.arrivals()
        assert 0 < len(accepted) < len(names)  # what there was room for is safe
        assert set(desk.left()) >= set(names) - set(accepted)
        assert list((library.root / "incoming").iterdir()) == []
        await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
        await took_in(desk, *names)
        await until(lambda: desk.left() == [])
        assert source.alarm == ""
    desk.intake.close()


# -- side by side ----------------------------------------------------------------------------------------------------


async def test_two_inboxes_with_the_same_names_do_not_mix(tmp_path, journal, library):
    intake = Intake(journal, library, Routes((), {}), identify)
    sources = []
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"from the {name}")
        sources.append(FolderSource(Inbox(path=tmp_path / name, quiet=QUIET), intake, journal))
    tasks = [asyncio.create_task(source.run()) for source in sources]
    for source in sources:
        await idle(source)
    rows = await journal.rows("arrivals_by_origin", origin="a.txt", source=None)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    intake.close()
    assert sorted(row["source"] for row in rows) == ["left", "right"]
    assert len({row["event_id"] for row in rows}) == 2

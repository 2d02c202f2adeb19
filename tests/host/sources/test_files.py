"""How a file is read without being fooled, and taken out of its inbox without losing another."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from host.identify import identify
from host.intake import Refused, Taken, Unsettled
from host.library import Library
from host.sources import files
from host.sources.files import FileArrival, Folders, acknowledge, restore
from host.sources.scan import CLAIM, Found, Look

TEXT = b"some words"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def found(path: Path, inbox: Path) -> Found:
    return Found(str(path.relative_to(inbox)), str(path), Look.of(os.lstat(path)))


def put(path: Path, content: bytes = TEXT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def nothing(step: str) -> None:
    pass


def take(one: Found, inbox: Path, library: Library, *, keep: bool = False, observe=nothing):
    return FileArrival("inbox", one, str(inbox), keep).take(library, identify, observe)


def rid(one: Found, inbox: Path, done: Path | None = None, observe=nothing) -> bool:
    with Folders(str(inbox)) as folders:
        return acknowledge(one, folders, done, observe)


def left(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_file_is_copied_into_the_library(inbox, library):
    taken = take(found(put(inbox / "deep" / "a.txt"), inbox), inbox, library)
    assert isinstance(taken, Taken)
    assert (taken.sha256, taken.size) == (hashlib.sha256(TEXT).hexdigest(), len(TEXT))
    assert (taken.kind, taken.media_type, taken.mark) == ("text", "text/plain", "")
    assert library.resolve(taken.location) == taken.stored
    assert taken.stored.read_bytes() == TEXT


def test_a_kept_file_is_only_hashed(inbox, library):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    taken = take(one, inbox, library, keep=True)
    assert taken == Taken(
        hashlib.sha256(TEXT).hexdigest(), len(TEXT), "text", "text/plain", str(path), one.look.revision, None
    )
    assert left(library.root) == {}


def test_a_kept_file_whose_name_is_no_text_is_copied_for_the_worker(inbox, library):
    one = found(put(inbox / os.fsdecode(b"\xff.txt")), inbox)
    taken = take(one, inbox, library, keep=True)
    assert isinstance(taken, Taken)
    assert taken.stored is not None


def test_an_empty_file_is_refused(inbox, library):
    assert take(found(put(inbox / "a.txt", b""), inbox), inbox, library) == Refused(
        "It is empty. Send it again with its content."
    )


def test_a_content_that_nobody_knows_is_refused_and_not_stored(inbox, library):
    refused = take(found(put(inbox / "a.bin", b"\0\1\2\3"), inbox), inbox, library)
    assert isinstance(refused, Refused)
    assert "no known type" in refused.reason
    assert left(library.root) == {}


def test_a_file_that_changed_since_it_settled_is_looked_at_again(inbox, library):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.write_bytes(TEXT + b" and more")
    assert isinstance(take(one, inbox, library), Unsettled)


@pytest.mark.parametrize("keep", [False, True])
def test_a_file_that_changes_while_it_is_read_is_looked_at_again(inbox, library, keep):
    path = put(inbox / "a.txt")

    def write_more(step: str) -> None:
        if step == "hashed":
            path.write_bytes(b"something else")

    assert isinstance(take(found(path, inbox), inbox, library, keep=keep, observe=write_more), Unsettled)


def test_a_file_that_went_away_is_looked_at_again(inbox, library):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.unlink()
    assert isinstance(take(one, inbox, library), Unsettled)


def test_a_file_that_may_not_be_read_is_refused_with_what_to_do(inbox, library, monkeypatch):
    one = found(put(inbox / "a.txt"), inbox)

    def refuses(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", refuses)
    refused = take(one, inbox, library)
    assert isinstance(refused, Refused)
    assert "right to read" in refused.reason


def test_a_pipe_that_came_in_its_place_is_never_waited_for(inbox, library):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.unlink()
    os.mkfifo(path)
    assert isinstance(take(one, inbox, library), Unsettled)


def test_a_link_that_came_in_its_place_is_never_followed(inbox, library, tmp_path):
    secret = put(tmp_path / "secret.txt")
    path = put(inbox / "a.txt")
    path.unlink()
    path.symlink_to(secret)
    fooled = Found("a.txt", str(path), Look.of(os.stat(path)))  # as if the link had been looked through
    assert isinstance(take(fooled, inbox, library), Unsettled)
    assert left(library.root) == {}


def test_a_folder_that_became_a_link_leads_nowhere(inbox, library, tmp_path):
    secret = put(tmp_path / "outside" / "a.txt", b"secret")
    (inbox / "sub").symlink_to(tmp_path / "outside")
    fooled = Found("sub/a.txt", str(inbox / "sub" / "a.txt"), Look.of(os.stat(secret)))
    assert isinstance(take(fooled, inbox, library), Unsettled)
    assert rid(fooled, inbox)
    assert secret.read_bytes() == b"secret"
    assert left(library.root) == {}


def test_an_inbox_may_itself_be_a_link(inbox, library, tmp_path):
    put(inbox / "sub" / "a.txt")
    link = tmp_path / "link"
    link.symlink_to(inbox)
    one = found(link / "sub" / "a.txt", link)
    assert isinstance(take(one, link, library), Taken)
    assert rid(one, link)
    assert left(inbox) == {}


# -- taking out of the inbox -----------------------------------------------------------------------------------------


def test_an_acknowledged_file_is_gone_and_its_neighbours_are_not(inbox):
    path = put(inbox / "a.txt")
    put(inbox / "b.txt")
    steps: list[str] = []
    assert rid(found(path, inbox), inbox, observe=steps.append)
    assert left(inbox) == {"b.txt": TEXT}
    assert steps == ["before unlink", "after unlink"]


def test_a_file_that_went_by_itself_is_fine(inbox):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.unlink()
    assert rid(one, inbox)


def test_a_file_that_was_replaced_keeps_its_name_and_content(inbox):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    put(inbox / "new", b"another content")
    os.replace(inbox / "new", path)
    assert not rid(one, inbox)
    assert left(inbox) == {"a.txt": b"another content"}


def test_a_file_replaced_twice_loses_neither(inbox):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.write_bytes(b"second content")

    def put_third(step: str) -> None:
        if step == "before unlink":
            put(path, b"third")

    assert not rid(one, inbox, observe=put_third)
    assert left(inbox) == {"a.txt": b"third", "a (2).txt": b"second content"}


def test_a_file_replaced_while_it_is_removed_is_not_touched(inbox):
    path = put(inbox / "a.txt")

    def replace(step: str) -> None:
        if step == "before unlink":
            put(path, b"just came")

    assert rid(found(path, inbox), inbox, observe=replace)
    assert left(inbox) == {"a.txt": b"just came"}


def test_a_folder_that_came_in_its_place_stays(inbox):
    path = put(inbox / "a.txt")
    one = found(path, inbox)
    path.unlink()
    put(path / "inner.txt")
    assert not rid(one, inbox)
    assert left(inbox) == {"a.txt/inner.txt": TEXT}


def test_a_done_file_moves_under_its_relative_name_and_replaces_nothing(inbox, tmp_path):
    done = tmp_path / "done"
    for content in (b"first", b"second", b"third"):
        assert rid(found(put(inbox / "sub" / "a.txt", content), inbox), inbox, done)
    assert left(inbox) == {}
    assert left(done) == {"sub/a.txt": b"first", "sub/a (2).txt": b"second", "sub/a (3).txt": b"third"}


def test_a_done_folder_on_another_filesystem_gets_a_copy(inbox, tmp_path, monkeypatch):
    def elsewhere(*arguments, **options):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    path = put(inbox / "a.txt")
    mtime = path.stat().st_mtime_ns
    put(tmp_path / "done" / "a.txt", b"there before")
    monkeypatch.setattr(files.os, "link", elsewhere)
    assert rid(found(path, inbox), inbox, tmp_path / "done")
    assert left(inbox) == {}
    assert left(tmp_path / "done") == {"a.txt": b"there before", "a (2).txt": TEXT}
    assert (tmp_path / "done" / "a (2).txt").stat().st_mtime_ns == mtime


def test_a_filesystem_without_hard_links_loses_nothing_either(inbox, tmp_path, monkeypatch):
    def refuses(*arguments, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    put(tmp_path / "done" / "a.txt", b"there before")
    monkeypatch.setattr(files.os, "link", refuses)
    assert rid(found(put(inbox / "a.txt"), inbox), inbox, tmp_path / "done")
    assert left(tmp_path / "done") == {"a.txt": b"there before", "a (2).txt": TEXT}


def test_what_cannot_be_moved_is_back_under_its_name(inbox, tmp_path):
    (tmp_path / "done").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        rid(found(put(inbox / "a.txt"), inbox), inbox, tmp_path / "done")
    assert left(inbox) == {"a.txt": TEXT}


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "x" * 238, "x" * 239, "😀" * 63, "line\nbreak", "-rf"])
def test_a_name_of_any_length_can_be_taken_out(inbox, name):
    assert rid(found(put(inbox / name), inbox), inbox)
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", "x" * 251 + ".txt", os.fsdecode(b"\xff\n.txt")])
def test_what_a_crash_left_claimed_gets_its_name_back(inbox, name):
    path = put(inbox / "sub" / name)

    class Killed(BaseException):
        pass

    def kill(step: str) -> None:
        raise Killed

    one = found(path, inbox)
    with pytest.raises(Killed):
        rid(one, inbox, observe=kill)
    [claim] = list((inbox / "sub").iterdir())
    assert claim.name.startswith(CLAIM)
    restore(str(claim))
    assert left(inbox) == {f"sub/{name}": TEXT}
    assert found(path, inbox).look.revision == one.look.revision
    assert [entry.name for entry in (inbox / "sub").iterdir()] == [name]


def test_a_claim_whose_name_is_taken_by_now_gets_the_next_free_one(inbox):
    claim = put(inbox / f"{CLAIM}a.txt", b"claimed")
    put(inbox / "a.txt", b"newer")
    restore(str(claim))
    assert left(inbox) == {"a.txt": b"newer", "a (2).txt": b"claimed"}


def test_restoring_what_is_gone_is_harmless(inbox):
    restore(str(inbox / f"{CLAIM}a.txt"))
    assert list(inbox.iterdir()) == []

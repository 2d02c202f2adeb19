"""What lies in a folder: files, what is refused at sight, and what is left alone."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from host.config import Inbox
from host.sources import scan as scan_module
from host.sources.scan import CLAIM, Findings, Scanner


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def scanner(inbox: Path, *skip: Path, **settings) -> Scanner:
    return Scanner(Inbox(path=inbox, name="inbox", **settings), skip)


def scan(inbox: Path, *skip: Path, **settings) -> Findings:
    return whole(scanner(inbox, *skip, **settings), inbox)


def whole(one: Scanner, directory: Path, *, recursive: bool = True) -> Findings:
    """All portions of a scan as one."""
    findings = Findings()
    for portion in one.scan(str(directory), recursive=recursive):
        findings.files += portion.files
        findings.refused += portion.refused
        findings.claims += portion.claims
    return findings


def origins(findings) -> list[str]:
    return sorted(found.origin for found in findings.files)


def refusals(findings) -> dict[str, str]:
    return {found.origin: reason for found, reason in findings.refused}


def put(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_files_are_found_at_any_depth_under_their_relative_names(inbox):
    for name in ("a.txt", "b/c.txt", "b/d/e.txt"):
        put(inbox / name)
    assert origins(scan(inbox)) == ["a.txt", "b/c.txt", "b/d/e.txt"]


def test_a_flat_inbox_leaves_folders_alone(inbox):
    put(inbox / "a.txt")
    put(inbox / "b/c.txt")
    assert origins(scan(inbox, recursive=False)) == ["a.txt"]


def test_one_directory_can_be_scanned_alone(inbox):
    put(inbox / "a.txt")
    put(inbox / "b/c.txt")
    put(inbox / "b/d/e.txt")
    findings = whole(scanner(inbox), inbox / "b", recursive=False)
    assert origins(findings) == ["b/c.txt"]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden", "x.part", "x.crdownload", "x.tmp", "~lock", "backup~", "Thumbs.db", "desktop.ini", ".git/config",
        "@eaDir/x", "lost+found/x",
    ],
)  # fmt: skip
def test_junk_is_left_alone(inbox, name):
    path = put(inbox / name)
    assert origins(scan(inbox)) == []
    assert scanner(inbox).is_ignored(str(path))


def test_patterns_of_the_inbox_are_left_alone_too(inbox):
    for name in ("a.log", "b/c.log", "raw/d.txt", "keep/d.txt", "b/x/raw"):
        put(inbox / name)
    findings = scan(inbox, ignore=("*.log", "raw", "keep/d.*"))
    assert origins(findings) == []
    assert scanner(inbox, ignore=("raw",)).is_ignored(str(inbox / "raw" / "d.txt"))
    assert not scanner(inbox, ignore=("raw",)).is_ignored(str(inbox / "keep" / "d.txt"))


def test_the_inbox_itself_is_never_ignored(tmp_path):
    hidden = tmp_path / ".inbox"
    put(hidden / "a.txt")
    assert origins(scan(hidden)) == ["a.txt"]


def test_a_hint_for_an_ignored_or_skipped_directory_leads_nowhere(inbox):
    put(inbox / ".git" / "a.txt")
    put(inbox / "done" / "b.txt")
    one = scanner(inbox, inbox / "done")
    assert origins(whole(one, inbox / ".git")) == []
    assert origins(whole(one, inbox / "done")) == []
    assert origins(whole(one, inbox)) == []


def test_a_folder_is_skipped_by_whatever_link_it_is_named(inbox, tmp_path):
    put(inbox / "done" / "b.txt")
    (tmp_path / "link").symlink_to(inbox)
    assert origins(scan(inbox, tmp_path / "link" / "done")) == []


def test_with_a_marker_only_marked_files_are_found(inbox):
    put(inbox / "a.mp4")
    put(inbox / "b.mp4")
    put(inbox / "b.mp4.done")
    put(inbox / "deep/c.mp4")
    put(inbox / "deep/c.mp4.done")
    assert origins(scan(inbox, marker=".done")) == ["b.mp4", "deep/c.mp4"]


def test_what_is_no_file_is_refused_at_sight(inbox, tmp_path):
    os.mkfifo(inbox / "pipe")
    put(tmp_path / "outside.txt")
    (inbox / "outside").symlink_to(tmp_path / "outside.txt")
    (inbox / "dangling").symlink_to(tmp_path / "nowhere")
    put(inbox / "real.txt")
    (inbox / "inside").symlink_to(inbox / "real.txt")
    (inbox / "folder").symlink_to(tmp_path)
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        where = os.getcwd()
        os.chdir(inbox)  # a socket's whole path may have 108 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(where)
        findings = scan(inbox)
    reasons = refusals(findings)
    assert origins(findings) == ["real.txt"]
    assert sorted(reasons) == ["dangling", "folder", "inside", "outside", "pipe", "socket"]
    assert "named pipe" in reasons["pipe"]
    assert "socket" in reasons["socket"]
    assert "does not exist" in reasons["dangling"]
    assert "outside the inbox" in reasons["outside"]
    assert "outside the inbox" in reasons["folder"]
    assert "taken in by itself" in reasons["inside"]


def test_a_link_in_a_circle_is_refused(inbox):
    (inbox / "a").symlink_to(inbox / "b")
    (inbox / "b").symlink_to(inbox / "a")
    assert sorted(refusals(scan(inbox))) == ["a", "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_refused_at_sight(inbox):
    os.mknod(inbox / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    assert "character device" in refusals(scan(inbox))["zero"]


def test_a_file_over_the_limit_is_refused_with_the_numbers(inbox):
    with (inbox / "huge.bin").open("wb") as file:
        file.truncate(2**40)
    put(inbox / "small.txt")
    findings = scan(inbox, max_size_mb=1)
    assert origins(findings) == ["small.txt"]
    assert "1,099,511,627,776 bytes" in refusals(findings)["huge.bin"]
    assert "max_size_mb" in refusals(findings)["huge.bin"]


def test_a_file_that_grew_over_the_limit_is_refused_when_it_is_looked_at_again(inbox):
    path = put(inbox / "film.mp4")
    one = scanner(inbox, max_size_mb=1)
    judged = one.judge(str(path))
    assert judged is not None
    assert judged[1] == ""
    os.truncate(path, 2**21)
    judged = one.judge(str(path))
    assert judged is not None
    assert "max_size_mb" in judged[1]
    path.unlink()
    assert one.judge(str(path)) is None


def test_a_folder_with_a_files_name_is_a_folder(inbox):
    put(inbox / "x.jpg" / "inside.txt")
    assert origins(scan(inbox)) == ["x.jpg/inside.txt"]


def test_a_folder_that_may_not_be_listed_is_refused_and_its_neighbours_are_found(inbox, monkeypatch):
    put(inbox / "closed" / "a.txt")
    put(inbox / "open" / "b.txt")
    scandir = os.scandir

    def guarded(path):
        if path == str(inbox / "closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    findings = scan(inbox)
    assert origins(findings) == ["open/b.txt"]
    assert "cannot be listed: Permission denied" in refusals(findings)["closed"]


def test_an_inbox_that_may_not_be_listed_is_an_error(inbox, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError):
        scan(inbox)


def test_a_directory_that_vanished_is_empty(inbox):
    assert whole(scanner(inbox), inbox / "gone").files == []


def test_a_large_folder_comes_in_portions_and_each_file_once(inbox, monkeypatch):
    monkeypatch.setattr(scan_module, "PORTION", 3)
    names = [f"{number}.txt" for number in range(8)] + [f"deep/{number}.txt" for number in range(8)]
    for name in names:
        put(inbox / name)
    portions = list(scanner(inbox).scan(str(inbox), recursive=True))
    assert [len(portion) for portion in portions] == [3, 3, 3, 3, 3, 1]
    assert sorted(found.origin for portion in portions for found in portion.files) == sorted(names)


def test_files_that_go_while_a_folder_is_scanned_hide_no_other(inbox, monkeypatch):
    monkeypatch.setattr(scan_module, "PORTION", 10)
    for number in range(500):
        put(inbox / f"{number}.txt")
    seen: list[str] = []
    for portion in scanner(inbox).scan(str(inbox), recursive=True):
        for found in portion.files:
            seen.append(found.origin)
            os.unlink(found.path)
    assert len(seen) == len(set(seen)) == 500
    assert list(inbox.iterdir()) == []


def test_claims_are_found_whatever_the_rules_say(inbox):
    put(inbox / f"{CLAIM}a.txt")
    put(inbox / "deep" / f"{CLAIM}b.txt")
    for settings in ({}, {"marker": ".done"}):
        findings = scan(inbox, **settings)
        assert sorted(findings.claims) == [str(inbox / f"{CLAIM}a.txt"), str(inbox / "deep" / f"{CLAIM}b.txt")]
        assert findings.files == []


def test_a_name_of_any_bytes_is_found(inbox):
    names = [b"new\nline.txt", b"quote\"'.txt", b"-rf", b"\xff\xfe.txt", "Grüße 😀".encode()]
    for name in names:
        put(inbox / os.fsdecode(name))
    findings = scan(inbox)
    assert sorted(os.fsencode(found.path[len(str(inbox)) + 1 :]) for found in findings.files) == sorted(names)
    assert all(found.origin.encode() for found in findings.files)


def test_writing_changes_the_revision_and_a_chmod_does_not(inbox):
    path = put(inbox / "a.txt")
    one = scanner(inbox)

    def revision() -> str:
        judged = one.judge(str(path))
        assert judged is not None
        return judged[0].look.revision

    first = revision()
    path.chmod(0o600)
    assert revision() == first
    path.write_text("longer")
    assert revision() != first

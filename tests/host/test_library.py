"""The content-addressed store: complete and durable, or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from host import durable
from host import library as library_module
from host.durable import sync_files, write_atomically
from host.errors import LibraryError
from host.library import Library, hash_file


def stored(library: Library, path: Path, extension: str = ".bin"):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with library.receive(descriptor) as receipt:
            return receipt.store(extension)
    finally:
        os.close(descriptor)


def incoming(library: Library) -> list[Path]:
    return list((library.root / "incoming").iterdir())


@pytest.mark.parametrize("size", [0, 1, 8192, 1024 * 1024, 3 * 1024 * 1024 + 7])
def test_a_content_lies_under_its_hash(library, tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    found = stored(library, tmp_path / "file", ".png")
    digest = hashlib.sha256(content).hexdigest()
    assert (found.sha256, found.size) == (digest, size)
    assert found.path == library.root / digest[:2] / f"{digest}.png" == library.path_of(digest, ".png")
    assert found.path.read_bytes() == content
    assert library.resolve(library.location_of(found.path)) == found.path
    assert incoming(library) == []


def test_a_stored_content_is_a_copy_that_nobody_may_write(library, tmp_path):
    (tmp_path / "file").write_bytes(b"first")
    path = stored(library, tmp_path / "file").path
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.stat().st_nlink == 1
    assert path.stat().st_ino != (tmp_path / "file").stat().st_ino
    (tmp_path / "file").write_bytes(b"other")
    assert path.read_bytes() == b"first"


def test_the_same_content_again_replaces_what_a_crash_may_have_left_incomplete(library, tmp_path):
    (tmp_path / "file").write_bytes(b"whole")
    path = stored(library, tmp_path / "file").path
    path.chmod(0o644)
    path.write_bytes(b"wh")
    assert stored(library, tmp_path / "file").path == path
    assert path.read_bytes() == b"whole"


def test_what_is_received_and_not_stored_leaves_nothing(library, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb") as file, library.receive(file.fileno()) as receipt:
        assert receipt.head(3) == b"con"
        assert (receipt.size, receipt.sha256) == (7, hashlib.sha256(b"content").hexdigest())
        assert len(incoming(library)) == 1
    assert [path for path in library.root.rglob("*") if path.is_file()] == []


def test_preparing_sweeps_what_was_half_written_and_nothing_else(library, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    path = stored(library, tmp_path / "file").path
    (library.root / "incoming" / "4711-0").write_bytes(b"hal")
    Library(library.root).prepare()
    assert incoming(library) == []
    assert path.read_bytes() == b"content"


def test_bytes_in_memory_are_stored_like_files(library):
    found = library.add_bytes(b"thumbnail", ".jpg")
    assert found.path.read_bytes() == b"thumbnail"
    assert found.sha256 == hashlib.sha256(b"thumbnail").hexdigest()
    assert incoming(library) == []


@pytest.mark.parametrize("way", ["add", "put"])
def test_bytes_replace_what_a_crash_left_incomplete(library, way):
    path = library.add_bytes(b"whole", ".txt").path
    path.chmod(0o644)
    path.write_bytes(b"wh")
    if way == "add":
        library.add_bytes(b"whole", ".txt")
    else:
        library.put(b"whole", library.location_of(path))
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert incoming(library) == []


def test_bytes_that_do_not_fit_on_the_disk_leave_no_part(library, monkeypatch):
    def full(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(library_module, "_write_all", full)
    with pytest.raises(LibraryError, match="Make room"):
        library.add_bytes(b"content", ".txt")
    assert [path for path in library.root.rglob("*") if path.is_file()] == []


def test_a_path_outside_is_resolved_as_it_is(library):
    assert library.resolve("/elsewhere/cat.png") == Path("/elsewhere/cat.png")


def test_a_full_disk_is_an_error_of_the_library_and_leaves_no_part(library, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"content")

    def full(descriptor: int, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(library_module, "_write_all", full)
    with pytest.raises(LibraryError, match=r"No space left on device\. Make room"):
        stored(library, tmp_path / "file")
    assert incoming(library) == []


def test_a_file_that_cannot_be_read_is_no_error_of_the_library(library, tmp_path):
    descriptor = os.open(tmp_path / "write-only", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"), library.receive(descriptor):
            pass
    finally:
        os.close(descriptor)
    assert incoming(library) == []


def test_a_library_whose_place_is_taken_says_so(tmp_path):
    (tmp_path / "library").write_text("a file")
    with pytest.raises(LibraryError, match="cannot be written"):
        Library(tmp_path / "library").prepare()


def test_hashing_starts_at_the_beginning_wherever_the_file_was_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.read(3)
        assert hash_file(file.fileno()) == (hashlib.sha256(b"content").hexdigest(), 7)


# -- durable ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def flushed(monkeypatch) -> list[str]:
    """The names of what was made durable, in order; the system is still asked to do it."""
    names: list[str] = []
    fsync = os.fsync
    syncfs = durable._syncfs

    def record_fsync(descriptor: int) -> None:
        names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def record_syncfs(directory: Path) -> bool:
        names.append(f"syncfs {directory}")
        return syncfs(directory)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(durable, "_syncfs", record_syncfs)
    return names


def test_few_files_are_flushed_each_before_the_folders_that_name_them(tmp_path, flushed):
    (tmp_path / "a" / "b").mkdir(parents=True)
    path = tmp_path / "a" / "b" / "file"
    path.write_text("x")
    sync_files([path], tmp_path)
    assert flushed[0] == str(path)
    assert sorted(flushed[1:]) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_many_files_are_flushed_with_their_filesystem(tmp_path, flushed):
    paths = [tmp_path / str(number) for number in range(durable.SYNC_EACH_UP_TO + 1)]
    for path in paths:
        path.write_text("x")
    sync_files(paths, tmp_path)
    assert flushed == [f"syncfs {tmp_path}"]


def test_many_files_are_flushed_each_where_a_filesystem_cannot_be(tmp_path, flushed, monkeypatch):
    monkeypatch.setattr(durable, "_syncfs", lambda directory: False)
    paths = [tmp_path / str(number) for number in range(durable.SYNC_EACH_UP_TO + 1)]
    for path in paths:
        path.write_text("x")
    sync_files(paths, tmp_path)
    assert flushed == [*map(str, paths), str(tmp_path)]


def test_nothing_to_flush_flushes_nothing(tmp_path, flushed):
    sync_files([], tmp_path)
    assert flushed == []


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")
    before = path.stat().st_ino
    with path.open("rb") as reader:
        write_atomically(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert path.stat().st_ino != before
    assert os.listdir(tmp_path) == ["file.json"]


def test_what_a_crash_left_of_a_replacement_is_gone_after_the_next(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *names: None)  # killed just before
        write_atomically(path, b"never seen")
    assert len(os.listdir(tmp_path)) == 1
    write_atomically(path, b"whole")
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("name", ["x" * 255, "😀" * 63, "line\nbreak"])
def test_any_name_that_a_file_may_have_can_be_replaced(tmp_path, name):
    write_atomically(tmp_path / name, b"x")
    assert os.listdir(tmp_path) == [name]

"""A published file is taken from the cache, fetched once, or asked for in words that help."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hooks import ModelUnavailable
from plugins import hub

REPOSITORY, FILE = "somebody/model", "weights.safetensors"
COMMIT = "c" * 40
CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

FETCH = """
import sys
from hooks import ModelUnavailable
from plugins import hub
try:
    print(hub.fetched("somebody/model", "weights.safetensors", 'pretrained = "FILE"'))
except ModelUnavailable as error:
    print(error.message, error.hint, sep=chr(10))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(home: Path, content: bytes = CONTENT) -> Path:
    """Lay a file into the cache as the hub's library does: a link to a blob that is named by its hash."""
    folder = home / "hub" / "models--somebody--model"
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    file = folder / "snapshots" / COMMIT / FILE
    for path in (blob, file, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    (folder / "refs" / "main").write_text(COMMIT)
    return file


def fetch(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What `fetched` gives or raises in a process of its own, for the hub's library reads the environment once."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return subprocess.run([sys.executable, "-c", FETCH], capture_output=True, text=True, check=True, timeout=120).stdout


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A hub on this machine: its address, and the requests that it had."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.command} {self.path}")
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            content = content or b""
            for name, value in {
                "Content-Length": str(len(content)),
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "X-Error-Code": "EntryNotFound",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_empty_cache_has_nothing(home):
    assert hub.cached(REPOSITORY, FILE) is None


def test_a_cached_file_is_found_by_the_layout_of_the_cache(home):
    file = put(home)
    assert hub.cached(REPOSITORY, FILE) == file


def test_a_cached_file_of_another_revision_than_the_last_is_not_taken(home):
    file = put(home)
    (home / "hub" / "models--somebody--model" / "refs" / "main").write_text("d" * 40)
    assert file.exists()
    assert hub.cached(REPOSITORY, FILE) is None


def test_a_cached_file_is_given_without_asking_the_hub(home, monkeypatch):
    file = put(home)
    with served({}) as (address, requests):
        assert fetch(monkeypatch, HF_ENDPOINT=address).strip() == str(file)
    assert requests == []


def test_a_file_is_fetched_once_and_found_in_the_cache_then(home, monkeypatch):
    with served({f"/{REPOSITORY}/resolve/main/{FILE}": CONTENT}) as (address, _):
        path = Path(fetch(monkeypatch, HF_ENDPOINT=address).strip())
    assert path.read_bytes() == CONTENT
    assert hub.cached(REPOSITORY, FILE) == path


def test_a_file_that_the_hub_does_not_have_is_unavailable(home, monkeypatch):
    with served({}) as (address, requests):
        said = fetch(monkeypatch, HF_ENDPOINT=address)
    assert "could not be fetched (RemoteEntryNotFoundError)" in said
    assert requests


def test_without_a_network_it_is_said_what_to_put_where(home, monkeypatch):
    message, hint = fetch(monkeypatch, HF_HUB_OFFLINE="1").splitlines()
    assert (
        message == f"{FILE} of {REPOSITORY} is not on this machine and could not be fetched (LocalEntryNotFoundError)."
    )
    assert f"`hf download {REPOSITORY} {FILE}`" in hint
    assert str(home / "hub") in hint
    assert 'pretrained = "FILE"' in hint


def test_without_the_library_of_the_hub_it_is_said_what_to_install(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelUnavailable, match="huggingface_hub is missing"):
        hub.fetched(REPOSITORY, FILE, "")


def test_a_folder_is_cached_when_all_its_files_are(home):
    folder = put(home).parent
    assert hub.cached_folder(REPOSITORY, [FILE]) == folder
    assert hub.cached_folder(REPOSITORY, [FILE, "config.json"]) is None


def test_a_folder_that_is_not_here_says_what_to_put_where(home, monkeypatch):
    call = 'hub.fetched_folder("somebody/model", ["a.bin"], ["*.bin"], \'model = "FOLDER"\')'
    script = FETCH.replace('hub.fetched("somebody/model", "weights.safetensors", \'pretrained = "FILE"\')', call)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    message, hint = run.stdout.splitlines()
    assert message.startswith(f"{REPOSITORY} is not on this machine and could not be fetched")
    assert f"`hf download {REPOSITORY}`" in hint
    assert str(home / "hub") in hint
    assert 'model = "FOLDER"' in hint


def test_a_damaged_file_of_the_cache_is_named(home):
    file = put(home)
    hub.check(file.parent)
    file.resolve().write_bytes(CONTENT[:-1])
    with pytest.raises(ModelUnavailable, match=r"weights\.safetensors is damaged"):
        hub.check(file.parent)


def test_files_are_compared_with_a_list_of_hashes_that_lies_beside_them(tmp_path):
    (tmp_path / FILE).write_bytes(CONTENT)
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  {FILE}\n")
    hub.check(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {FILE}\n")
    with pytest.raises(ModelUnavailable, match="is damaged"):
        hub.check(tmp_path)


def test_the_hash_of_a_cached_file_is_known_without_reading_it(home):
    assert hub.sha256_of_blob(put(home)) == DIGEST


def test_the_hash_of_any_other_file_is_not(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(CONTENT)
    assert hub.sha256_of_blob(path) is None


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_library_of_the_hub_has_it(monkeypatch, environment, folder):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hub.cache_folder() == Path(folder)
    child = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    theirs = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip()
    assert theirs == folder

"""Results on their way from a worker to the journal: what the rows say, and where a result came from."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from hooks import API_VERSION, InvalidPlugin, ModelSpec
from hooks.results import Embedding
from host.errors import JournalError, LibraryError
from host.journal import Journal, Statement
from host.library import Library, hash_file
from host.plugin_manager import Plugin, settings_sha256
from host.queues import Job

ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
EXTENSIONS = {
    "application/json": ".json", "image/jpeg": ".jpg", "image/webp": ".webp", "image/png": ".png",
    "audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/ogg": ".ogg",
}  # fmt: skip


@dataclass(slots=True)
class Finding:
    """One result of one event, as the worker sent it; the blob is a copy, the file lies in the plugin's scratch folder.

    `location` is where the library has the file, once it has taken it.
    """

    type: str
    version: int
    data: dict[str, Any]
    blob: bytes | None
    file: Path | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A file in a worker's scratch folder, as its plugin spoke of it."""

    path: Path
    name: str
    role: str
    moment: float | None
    metadata: Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """What a batch said of one event."""

    job: Job
    findings: list[Finding] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    failure: str = ""


def finding_of(plugin: str, body: dict[str, Any], blob: bytes | None, scratch: Path) -> Finding:
    """A result as a worker sent it, if the journal can keep it: a plugin's own class may say anything."""
    file = body.get("file")
    kind, version, data = body.get("type"), body.get("version"), body.get("data")
    if not (isinstance(kind, str) and isinstance(version, int) and isinstance(data, dict)):
        problem = "its type should be text, its version a number, its data an object"
    elif kind == Embedding.type and not isinstance(data.get("space"), str):
        problem = "an embedding must name its space"
    elif kind == Embedding.type and (not blob or len(blob) % 4):
        problem = "an embedding must have a vector of float32 numbers"
    elif not is_writable({**data, "type": kind}):
        problem = "it holds half characters, or is nested too deep to be written as JSON"
    elif file is not None and (blob is not None or not _is_in(scratch, file)):
        problem = f"its file must lie in its scratch folder {scratch}"
    else:
        return Finding(kind, version, data, blob, None if file is None else Path(os.path.normpath(file)))
    raise InvalidPlugin(f"{plugin} sent a result that cannot be kept: {problem}.")


def made_of(plugin: str, body: Mapping[str, Any], scratch: Path) -> Made:
    """A file as a worker spoke of it, if the journal can keep what was said. Raises InvalidPlugin."""
    path, name, role, moment = (body.get(key) for key in ("path", "name", "role", "moment"))
    metadata = body.get("metadata") or {}
    if not _is_in(scratch, path):
        problem = f"it must lie in its scratch folder {scratch}"
    elif not (isinstance(name, str) and name.isprintable() and "/" not in name and 0 < len(name.encode()) <= 200):
        problem = "its name must be a file's name of at most 200 bytes"
    elif not (isinstance(role, str) and ROLE.fullmatch(role)):
        problem = "its role must be a short word of small letters"
    elif not (moment is None or (isinstance(moment, int | float) and math.isfinite(moment) and moment >= 0)):
        problem = "its moment must be seconds from the beginning of its parent"
    elif not (isinstance(metadata, dict) and is_writable(metadata)):
        problem = "its metadata cannot be written as JSON"
    else:
        return Made(Path(os.path.normpath(str(path))), str(name), role, moment, metadata)
    raise InvalidPlugin(f"{plugin} made a file that cannot be taken in: {problem}.")


def _is_in(scratch: Path, path: Any) -> bool:
    return isinstance(path, str) and Path(os.path.normpath(path)).is_relative_to(scratch)


@contextlib.contextmanager
def opened(path: Path, plugin: str) -> Iterator[int]:
    """A file that a plugin speaks of, to read. Raises InvalidPlugin for what is no file of content."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidPlugin(f"{plugin} spoke of {path.name}, which cannot be read: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not os.fstat(descriptor).st_size:
            raise InvalidPlugin(f"{plugin} made {path.name}, which is empty or not a file.")
        yield descriptor
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror}.") from error
    finally:
        os.close(descriptor)


def remove_made(files: Iterable[Path]) -> None:
    """Remove what was taken in from the scratch folder; blocks."""
    for path in files:
        with contextlib.suppress(OSError):
            path.unlink()


def is_writable(data: dict[str, Any]) -> bool:
    """Whether data that a plugin sent can be written as JSON."""
    try:
        to_json(data)
    except ValueError:  # of which PydanticSerializationError is one
        return False
    return True


def take_files(outcomes: Iterable[Outcome], library: Library) -> list[Path]:
    """Take copies of the results' files into the library, durably, and say which can go then; blocks.

    An outcome whose file cannot be taken becomes a failure. Raises LibraryError when none can be.
    """
    taken: list[Path] = []
    for outcome in outcomes:
        for finding in outcome.findings:
            if finding.file is not None and finding.location is None and not outcome.failure:
                try:
                    finding.location = _taken(finding, finding.file, outcome.job.plugin, library)
                except InvalidPlugin as error:
                    outcome.failure = str(error)
            taken += [finding.file] if finding.file is not None else []
    return taken


def _taken(finding: Finding, file: Path, plugin: str, library: Library) -> str:
    with opened(file, plugin) as descriptor, library.receive(descriptor) as receipt:
        stored = receipt.store(EXTENSIONS.get(str(finding.data.get("media_type")), ""))
    library.sync([stored.path])
    return library.location_of(stored.path)


def result_rows(outcomes: Iterable[Outcome], provenance: dict[str, Any], library: Library) -> list[Statement]:
    """The writes that record finished jobs; blobs that are files are made durable in the library first. Blocks."""
    now = time.time()
    results: list[dict[str, Any]] = []
    vectors: list[dict[str, Any]] = []
    stored: list[Path] = []
    done = list(outcomes)
    for outcome in done:
        source = json.dumps({**provenance, "input_sha256": outcome.job.event["sha256"]})
        for ordinal, finding in enumerate(outcome.findings):
            key = {"event_id": outcome.job.event_id, "plugin": outcome.job.plugin, "ordinal": ordinal}
            artifact = finding.location
            if finding.type == Embedding.type:
                vectors.append({**key, "space": finding.data["space"], "vector": finding.blob})
            elif finding.blob is not None:
                extension = EXTENSIONS.get(str(finding.data.get("media_type")), "")
                content = library.add_bytes(finding.blob, extension)
                stored.append(content.path)
                artifact = library.location_of(content.path)
            row = {"type": finding.type, "version": finding.version, "data": json.dumps(finding.data)}
            results.append({**key, **row, "artifact": artifact, "provenance": source, "created": now})
    library.sync(stored)
    return [
        Statement("clear_results", [{"event_id": o.job.event_id, "plugin": o.job.plugin} for o in done]),
        Statement("insert_result", results),
        Statement("insert_embedding", vectors),
        Statement("finish_job", [{"seq": o.job.seq, "finished": now} for o in done if not o.job.gathers]),
        Statement("finish_gathering", [_gathered(o.job, now) for o in done if o.job.gathers]),
    ]


def _gathered(job: Job, now: float) -> dict[str, Any]:
    return {"seq": job.seq, "gathers": job.gathers, "finished": now}


def provenance_of(plugin: Plugin, spec: ModelSpec, model_sha256: str | None, device: str) -> dict[str, Any]:
    """Where a result came from: everything that it depends on, but for the input. `variant`: a smaller way, or None."""
    return {
        "plugin_version": plugin.version,
        "hook_api": API_VERSION,
        "model": spec.name if plugin.has_model else None,
        "variant": spec.variant.name if spec.variant else None,
        "model_sha256": model_sha256,
        "settings_sha256": settings_sha256(plugin.settings_for(spec.variant)),
        "device": device,
    }


async def model_fingerprint(files: Iterable[Path], journal: Journal) -> str | None:
    """One hash over a model's files; each file is read once and remembered by size and time."""
    digests = [digest for path in sorted(files) if (digest := await _file_digest(path, journal))]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest() if digests else None


async def _file_digest(path: Path, journal: Journal) -> str | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    mark = f"{status.st_size}.{status.st_mtime_ns}"
    known = await journal.row("model_file", path=str(path))
    if known is not None and known["mark"] == mark:
        return str(known["sha256"])
    sha256 = await asyncio.to_thread(_hash_path, path)
    with contextlib.suppress(JournalError):  # a convenience: it is read again the next time
        await journal.write(Statement("remember_model_file", [{"path": str(path), "mark": mark, "sha256": sha256}]))
    return sha256


def _hash_path(path: Path) -> str:
    with path.open("rb") as file:
        return hash_file(file.fileno())[0]

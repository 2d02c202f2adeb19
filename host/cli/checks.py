"""The checks of `sensorium doctor`. Each looks only, and says what it found and what to do."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from host.cli.configuration import inspect_plugins
from host.cli.output import plural, size
from host.config import Config, Inbox, Mqtt
from host.control import connect
from host.errors import HostError
from host.views import Check, Status

if TYPE_CHECKING:
    from host.mqtt.client import MqttProblem
    from host.plugin_manager import PluginRegistry

ROOM = 1_000_000_000
OPEN_FILES = 1024
NETWORK = frozenset(
    ("9p", "afs", "ceph", "cifs", "davfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs")
)
COUNTED = 500_000  # folders; a larger tree is not walked to its end
INOTIFY = Path("/proc/sys/fs/inotify")


def run_checks(config: Config) -> list[Check]:
    """All checks, in the order in which what they find is best put right."""
    alone: list[Callable[[Config], Check]] = [
        check_python, check_host, check_data, check_room, check_journal, check_sqlite, check_watches, check_open_files,
    ]  # fmt: skip
    checks = [check(config) for check in alone]
    checks += [check_inbox(inbox) for inbox in config.inboxes]
    registry, problems = inspect_plugins(config)
    checks += [_bad("settings", str(problem), "Put it right in the configuration.") for problem in problems]
    checks += check_plugins(registry)
    return [*checks, check_broker(config.mqtt), check_gpu(config), check_ffmpeg(config)]


def check_python(_config: Config) -> Check:
    """The interpreter's version."""
    found = f"Python {platform.python_version()} ({sys.executable})"
    return _verdict("python", sys.version_info >= (3, 11), found, "Install Python 3.11 or newer.")


def check_host(config: Config) -> Check:
    """Whether a host runs on this data directory."""
    running = asyncio.run(_running(config))
    return _good("host", f"runs (process {running})" if running else "does not run")


async def _running(config: Config) -> int | None:
    client = await connect(config.paths.data)
    status: Status | None = await client.status() if client else None
    return status.running if status else None


def check_data(config: Config) -> Check:
    """Whether the data directory can be written to, and is on a disk that locks and SQLite's log work on."""
    data = config.paths.data
    there = nearest(data)
    kind = filesystem(there)
    found = f"{data} ({kind})" if data.exists() else f"{data} ({kind}; made at the first start)"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return _bad("data", f"{found}: {error.strerror}", "Give yourself the right to write there, or set `data`.")
    advice = "Locks and SQLite's log need a local disk: set `data` in [paths], or --data."
    return _verdict("data", kind not in NETWORK, found, advice)


def check_room(config: Config) -> Check:
    """Whether there is room for the library."""
    free = shutil.disk_usage(nearest(config.paths.data)).free
    advice = "Make room on that disk, or move the data directory: what arrives is copied into it."
    return _verdict("free space", free >= ROOM, f"{size(free)} free for {config.paths.data}", advice)


def check_journal(config: Config) -> Check:
    """Whether the journal is whole. Reads all of it."""
    path = config.paths.data / "journal.db"
    if not path.exists():
        return _good("journal", "none yet")
    advice = (
        "Stop the host, keep a copy of the file, and restore a backup or recover it with `sqlite3 journal.db .recover`."
    )
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?mode=ro", uri=True)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.Error as error:
        return _bad("journal", f"{path}: {error}", advice)
    return _verdict("journal", found == ["ok"], f"{path}: {'; '.join(found)}, {size(path.stat().st_size)}", advice)


def check_sqlite(_config: Config) -> Check:
    """SQLite's version; what the journal needs came with 3.35."""
    found = f"SQLite {sqlite3.sqlite_version}"
    return _verdict("sqlite", sqlite3.sqlite_version_info >= (3, 35), found, "Use a Python with a newer SQLite.")


def check_watches(config: Config) -> Check:
    """Whether the system lets us watch all folders."""
    try:
        limit = int((INOTIFY / "max_user_watches").read_text())
        instances = int((INOTIFY / "max_user_instances").read_text())
    except OSError:
        return _good("watches", "no limit that can be read on this system")
    watched = [inbox for inbox in config.inboxes if inbox.mode == "watch"]
    folders = sum(count_folders(inbox) for inbox in watched)
    found = f"{plural(folders, 'folder')} to watch; limits: {limit} folders, {instances} watchers"
    advice = 'Raise fs.inotify.max_user_watches and max_user_instances with sysctl, or set mode = "poll".'
    return _verdict("watches", folders < limit * 0.8 and len(watched) < instances, found, advice)


def check_open_files(_config: Config) -> Check:
    """Whether enough files can be open at once."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = limit == resource.RLIM_INFINITY
    found = "no limit" if unlimited else f"{limit} at once"
    return _verdict("open files", unlimited or limit >= OPEN_FILES, found, f"Raise it: ulimit -n {OPEN_FILES}.")


def check_inbox(inbox: Inbox) -> Check:
    """Whether an inbox is there, may be read and emptied, and reports what happens in it."""
    name, path = f"inbox {inbox.name}", inbox.path
    if not path.is_dir():
        return _good(name, f"{path} is not there; made at the first start, waited for at later ones")
    needed = os.R_OK | os.X_OK | (0 if inbox.after == "keep" else os.W_OK)
    if not os.access(path, needed):
        what = "read" if inbox.after == "keep" else "read and written to"
        return _bad(name, f"{path} cannot be {what}", "Change its rights, or its `after` in the configuration.")
    kind = filesystem(path)
    advice = 'Changes made elsewhere are not reported on a network mount: set mode = "poll" for it.'
    return _verdict(name, kind not in NETWORK or inbox.mode == "poll", f"{path} ({kind}, {inbox.mode})", advice)


def check_plugins(registry: PluginRegistry) -> list[Check]:
    """Whether each plugin can be used, and the files of its model are there."""
    checks = [
        _bad(f"plugin {one.name}", one.problem, f"Repair or remove {one.distribution or 'it'}, or set enabled = false.")
        for one in registry.unusable
        if not one.disabled
    ]
    for name, plugin in registry.usable.items():
        missing = [str(path) for path in plugin.spec.files if not path.exists()]
        found = f"{plugin.distribution} {plugin.version}" + (f", model {plugin.spec.name}" if plugin.has_model else "")
        if missing:
            advice = "Put the files there, or choose another model in the configuration."
            checks.append(_bad(f"plugin {name}", f"{found}; missing: {', '.join(missing)}", advice))
        else:
            checks.append(_good(f"plugin {name}", found))
    return checks


def check_broker(settings: Mqtt) -> Check:
    """Whether the MQTT broker lets the host in."""
    if settings.broker is None:
        return _good("mqtt", "no broker is configured")
    if settings.is_embedded:
        return _good("mqtt", "the host starts a broker of its own, for trying things out")
    problem = asyncio.run(_refusal(settings))
    return _bad("mqtt", problem.message, problem.hint) if problem else _good("mqtt", f"{settings.broker} lets us in")


async def _refusal(settings: Mqtt) -> MqttProblem | None:
    import aiomqtt  # with it half of a short command's start

    from host.mqtt.client import Connection, problem_of

    try:
        async with Connection(settings, f"sensorium-doctor-{os.getpid()}"):
            return None
    except (aiomqtt.MqttError, HostError, OSError) as error:
        return problem_of(error, settings.address)


def check_gpu(config: Config) -> Check:
    """Which GPUs the driver reports."""
    import pynvml

    if not config.devices.use_gpu:
        return _good("gpu", "switched off in the configuration")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _good("gpu", "none that a driver reports; models run on the CPU")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return _good("gpu", ", ".join(_gpu(handle) for handle in handles) or "none; models run on the CPU")
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> str:
    import pynvml

    name, memory = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetMemoryInfo(handle)
    return f"{name}: {size(int(memory.free))} of {size(int(memory.total))} free"


def check_ffmpeg(_config: Config) -> Check:
    """Whether ffmpeg is there; nothing needs it yet."""
    return _good("ffmpeg", shutil.which("ffmpeg") or "not there; pictures do not need it")


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def filesystem(path: Path) -> str:
    """The type of the filesystem that a path lies on."""
    import psutil

    real = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    # Of several mounts at one place the last one is seen.
    return max(reversed(mounts), key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown filesystem"


def count_folders(inbox: Inbox) -> int:
    """Folders that must be watched for an inbox."""
    if not inbox.recursive:
        return 1
    count = 0
    for count, _ in enumerate(os.walk(inbox.path), start=1):
        if count >= COUNTED:
            break
    return count


def _verdict(name: str, ok: bool, found: str, advice: str) -> Check:
    return _good(name, found) if ok else _bad(name, found, advice)


def _good(name: str, found: str) -> Check:
    return Check(name=name, ok=True, found=found)


def _bad(name: str, found: str, advice: str) -> Check:
    return Check(name=name, ok=False, found=found, advice=advice)

"""The journal: one SQLite file, one writer that commits what many coroutines want to write together.

A `write` returns when its rows are durable (WAL, synchronous FULL), and all of its statements are committed or none.
Writes that wait at the same moment share one commit; that is what makes a commit for each of them affordable.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import aiosqlite

from host.errors import JournalError
from host.sql.functions import passages_of

SIDECAR = "sidecar"  # the sink that every accepted arrival is owed to
ROWS_A_COMMIT = 20_000
BAD_ROWS = (sqlite3.Error, UnicodeError, OverflowError)  # the last two: half characters, numbers beyond 64 bits
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "foreign_keys = ON",
    "busy_timeout = 5000",
    # A burst's rows lie all over the indexes: pages are read again, and written again at each checkpoint, as often as
    # these two are small.
    "cache_size = -16000",  # KB
    "wal_autocheckpoint = 8000",  # pages of 4 KB
)
# Both connections live in one process and only one of them ever writes or checkpoints: SQLite before 3.51.3 can lose a
# WAL reset between two writers (https://www.sqlite.org/wal.html#walresetbug).
READER_PRAGMAS = ("query_only = ON", "busy_timeout = 5000", "wal_autocheckpoint = 0")


def load_queries(text: str) -> dict[str, str]:
    """The statements of a file by the name in the `-- name:` line above each."""
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


SQL = load_queries(resources.files("host.sql").joinpath("queries.sql").read_text())


class Row(Protocol):
    """A row of an answer, by column name."""

    def __getitem__(self, column: str, /) -> Any: ...

    def keys(self) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Statement:
    """A named write and the rows to run it with, in order."""

    name: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(slots=True)
class _Unit:
    statements: Sequence[Statement]
    size: int
    committed: asyncio.Future[None]


class Journal:
    """The open journal; made by `open_journal`."""

    def __init__(self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._pending: list[_Unit] = []
        self._wake = asyncio.Event()
        self._ended = False
        self.commits = 0

    async def write(self, *statements: Statement) -> None:
        """Commit the statements in order, all or none; returns when they are on the disk."""
        await self.submit(*statements)

    def submit(self, *statements: Statement) -> asyncio.Future[None]:
        """Have the statements committed after all that was submitted before, without waiting for it.

        The future is done when they are on the disk, and has a JournalError when they were refused.
        """
        committed = asyncio.get_running_loop().create_future()
        size = sum(len(statement.rows) for statement in statements)
        if size == 0:
            committed.set_result(None)
        elif self._ended:
            committed.set_exception(self._closed())
        else:
            self._pending.append(_Unit(statements, size, committed))
            self._wake.set()
        return committed

    async def rows(self, name: str, **parameters: Any) -> list[Row]:
        """All rows of a named query, of the last committed state."""
        return list(await self._reader.execute_fetchall(SQL[name], parameters))

    async def row(self, name: str, **parameters: Any) -> Row | None:
        """The first row of a named query."""
        found = await self.rows(name, **parameters)
        return found[0] if found else None

    async def run_writer(self) -> None:
        """Commit what waits, group after group; when it ends, whoever still waits is told."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._pending:
                    await self._commit(self._take_group())
        finally:
            self._ended = True
            _resolve(self._pending, self._closed())

    def _closed(self) -> JournalError:
        message = f"The journal {self.path} takes nothing any more: its writer ended."
        return JournalError(message, "Start the host again.")

    def _take_group(self) -> list[_Unit]:
        size = taken = 0
        while taken < len(self._pending) and size < ROWS_A_COMMIT:
            size += self._pending[taken].size
            taken += 1
        group, self._pending = self._pending[:taken], self._pending[taken:]
        return group

    async def _commit(self, group: list[_Unit]) -> None:
        try:
            await self._transaction(group)
        except BAD_ROWS as error:
            if len(group) > 1:  # one bad unit must not fail the others
                for unit in group:
                    await self._commit([unit])
                return
            # Disk full and I/O errors are operational; what breaks a constraint is wrong the next time, too.
            passing = isinstance(error, sqlite3.OperationalError)
            message = f"The journal {self.path} refused a write: {error}."
            _resolve(group, JournalError(message, _hint(error), passing=passing))
        except BaseException:
            _resolve(group, self._closed())
            raise
        else:
            _resolve(group, None)

    async def _transaction(self, group: list[_Unit]) -> None:
        await self._writer.execute("BEGIN IMMEDIATE")
        try:
            for name, rows in _merged(group):
                await self._writer.executemany(SQL[name], rows)
            await self._writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                await self._writer.execute("ROLLBACK")
            raise
        self.commits += 1


def _merged(group: Iterable[_Unit]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The group's statements in few calls: neighbours that run the same statements run each of them together.

    Each unit's own order is kept, and that of neighbours that do different things. Those that do the same must not mind
    each other's order, or break a constraint by it: then each unit runs alone.
    """
    for names, units in itertools.groupby(group, key=_names):
        columns = zip(*(filter(_has_rows, unit.statements) for unit in units), strict=True)
        for name, column in zip(names, columns, strict=True):
            yield name, [row for statement in column for row in statement.rows]


def _has_rows(statement: Statement) -> bool:
    return bool(statement.rows)


def _names(unit: _Unit) -> list[str]:
    return [statement.name for statement in unit.statements if statement.rows]


def _resolve(group: Sequence[_Unit], error: JournalError | None) -> None:
    for unit in group:
        if unit.committed.done():
            continue
        if error is None:
            unit.committed.set_result(None)
        else:
            unit.committed.set_exception(error)


def _hint(error: Exception) -> str:
    if "full" in str(error):
        return "Make room on that disk; nothing that was acknowledged is lost."
    return "Run `sensorium doctor`."


@contextlib.asynccontextmanager
async def open_journal(path: Path, *, read_only: bool = False) -> AsyncIterator[Journal]:
    """The journal at `path`, created or migrated as needed; the caller runs `run_writer`.

    With `read_only` nothing is created or changed, also beside a host that writes; a journal that is not there is an
    empty one. Raises JournalError when the file is not a journal, or is of another version that cannot be migrated.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            journal = await stack.enter_async_context(_open_to_read(path) if read_only else _open_to_write(path))
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"The journal {path} cannot be used: {error}.", "Run `sensorium doctor`.") from error
        yield journal


@contextlib.asynccontextmanager
async def _open_to_write(path: Path) -> AsyncIterator[Journal]:
    path.parent.mkdir(parents=True, exist_ok=True)
    async with aiosqlite.connect(path, isolation_level=None) as writer:
        await _prepare(writer, PRAGMAS)
        await _migrate(path, writer)
        async with aiosqlite.connect(path, isolation_level=None) as reader:
            await _prepare(reader, READER_PRAGMAS)
            yield Journal(path, writer, reader)


@contextlib.asynccontextmanager
async def _open_to_read(path: Path) -> AsyncIterator[Journal]:
    if not path.exists():  # noqa: ASYNC240 - one look, before anything runs
        async with aiosqlite.connect(":memory:", isolation_level=None) as empty:
            await _prepare(empty, ())
            await _migrate(path, empty)
            yield Journal(path, empty, empty)
        return
    async with aiosqlite.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None) as reader:
        await _prepare(reader, READER_PRAGMAS)
        if (version := await _version(reader)) != len(_scripts()):
            raise JournalError(
                f"The journal {path} has version {version}; this Sensorium reads {len(_scripts())}.",
                "`sensorium run` brings an older one up to date; a newer one needs the newer Sensorium.",
            )
        yield Journal(path, reader, reader)


async def _prepare(connection: aiosqlite.Connection, pragmas: Iterable[str]) -> None:
    connection.row_factory = sqlite3.Row
    for pragma in pragmas:
        await connection.execute(f"PRAGMA {pragma}")
    await connection.create_function("passages_of", 1, passages_of, deterministic=True)  # a trigger calls it


async def _migrate(path: Path, connection: aiosqlite.Connection) -> None:
    scripts, version = _scripts(), await _version(connection)
    if version > len(scripts):
        raise JournalError(
            f"The journal {path} has version {version}; this Sensorium knows {len(scripts)}.",
            "Install the newer Sensorium again, or name another data directory.",
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        text = resources.files("host.sql").joinpath(script).read_text()
        await connection.executescript(f"BEGIN IMMEDIATE;\n{text}\nPRAGMA user_version = {number};\nCOMMIT;")


def _scripts() -> list[str]:
    return sorted(entry.name for entry in resources.files("host.sql").iterdir() if re.match(r"\d{4}_", entry.name))


async def _version(connection: aiosqlite.Connection) -> int:
    rows = list(await connection.execute_fetchall("PRAGMA user_version"))
    return int(rows[0][0])

"""Words in 100,000 segments: a query beside the bare one of SQLite, and what keeping the index adds to a commit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from host.app import App, open_app
from host.config import Config
from host.journal import PRAGMAS, Journal, Statement, open_journal
from host.search.words import match_expression
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report, spread

RECORDINGS = 2_000
SEGMENTS = 50
WORDS = 12
VOCABULARY = 20_000
REPEATS = 7
COMMITTED = 300
LIMIT = 10
BARE = """
SELECT rowid, begins, snippet(passages, 0, '[', ']', '…', 24)
FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?
"""
TRIGGERS = ("passages_come", "passages_change", "passages_go")


class Talk:
    """Segments of words as often as in a language: the n-th word n times as seldom as the first (Zipf)."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = ["".join(self._random.choices(letters, k=self._random.randint(3, 9))) for _ in range(VOCABULARY)]
        self._weights = [1 / (place + 1) for place in range(VOCABULARY)]

    def transcript(self, segments: int) -> str:
        """The data of a result, as whisper's: with a time for each word."""
        said = [self._random.choices(self.words, self._weights, k=WORDS) for _ in range(segments)]
        found = [
            {
                "start": place * 6.0, "end": place * 6 + 5.5, "text": " ".join(words),
                "words": [{"start": 1.0, "end": 1.2, "text": word, "probability": 0.9} for word in words],
            }
            for place, words in enumerate(said)
        ]  # fmt: skip
        return json.dumps({"text": "\n".join(segment["text"] for segment in found), "segments": found})


def queries(words: list[str]) -> dict[str, str]:
    """What people look for; the words by how common they are."""
    return {
        "a rare word": words[9_000],
        "a word of every 50th segment": words[40],
        "a word of every second segment": words[0],
        "two words": f"{words[5]} {words[200]}",
        "words that stand together": f'"{words[1]} {words[2]}"',
        "the beginning of words": f"{words[300][:3]}*",
    }


def rows_of(name: str, data: str) -> list[Statement]:
    """What is committed for a recording that was taken in and worked off."""
    event = {
        "id": name, "kind": "audio", "media_type": "audio/mpeg", "sha256": name, "size": 1, "location": name,
        "mark": "", "name": name, "source": "inbox", "origin": name, "tags": "[]", "metadata": "{}",
        "parent": None, "created": 0.0,
    }  # fmt: skip
    return [
        Statement("insert_event", [event]),
        Statement("insert_job", [{"event_id": name, "plugin": "whisper", "queued": 0.0}]),
        Statement("insert_result", [result_of(name, data)]),
    ]


def result_of(name: str, data: str) -> dict[str, Any]:
    """The row of a result."""
    return {
        "event_id": name, "plugin": "whisper", "ordinal": 0, "type": "transcript", "version": 1, "data": data,
        "artifact": None, "provenance": "{}", "created": 0.0,
    }  # fmt: skip


async def fill(journal: Journal, talk: Talk) -> None:
    """Commit all recordings, many at once."""
    for start in range(0, RECORDINGS, 100):
        names = range(start, start + 100)
        await asyncio.gather(*(journal.write(*rows_of(f"{n:08x}", talk.transcript(SEGMENTS))) for n in names))


@contextlib.asynccontextmanager
async def writing(path: Path) -> Any:
    """A journal with its writer."""
    async with open_journal(path) as journal:
        writer = asyncio.create_task(journal.run_writer())
        yield journal
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


def bare_copy(journal: Path, path: Path) -> sqlite3.Connection:
    """The same passages in a table of their own, of a plain connection."""
    bare = sqlite3.connect(path)
    for pragma in PRAGMAS:
        bare.execute(f"PRAGMA {pragma}")
    with contextlib.closing(sqlite3.connect(journal)) as database:
        (table,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'passages'").fetchone()
        rows = database.execute("SELECT rowid, body, begins, ends FROM passages").fetchall()
    bare.execute(table)
    bare.executemany("INSERT INTO passages (rowid, body, begins, ends) VALUES (?, ?, ?, ?)", rows)
    bare.commit()
    return bare


async def seconds_of_queries(app: App, bare: sqlite3.Connection, texts: Iterable[str]) -> list[tuple[float, float]]:
    """Medians, ours and the bare ones, in turns."""
    medians = []
    for text in texts:
        ours, theirs = [], []
        for _ in range(REPEATS):
            began = time.perf_counter()
            hits = await app.search(text, limit=LIMIT, words=True)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            rows = bare.execute(BARE, [match_expression(text), LIMIT]).fetchall()
            theirs.append(time.perf_counter() - began)
            if bool(hits) != bool(rows):
                raise RuntimeError(f"{text!r}: {len(hits)} hits, {len(rows)} rows")
        medians.append((statistics.median(ours), statistics.median(theirs)))
    return medians


async def seconds_of_commits(folder: Path, contents: list[str], *, indexed: bool) -> float:
    """The median of a commit of one result, as a job's end makes it."""
    async with writing(folder / f"commits-{indexed}-{len(contents[0])}.db") as journal:
        await asyncio.gather(*(journal.write(*rows_of(f"{n:08x}", "{}")) for n in range(len(contents))))
        if not indexed:
            for trigger in TRIGGERS:
                await journal._writer.execute(f"DROP TRIGGER {trigger}")
        took = []
        for number, data in enumerate(contents):
            name = f"{number:08x}"
            clear = Statement("clear_results", [{"event_id": name, "plugin": "whisper"}])
            began = time.perf_counter()
            await journal.write(clear, Statement("insert_result", [result_of(name, data)]))
            took.append(time.perf_counter() - began)
    return statistics.median(took)


def seconds_of_inserts(bare: sqlite3.Connection, contents: list[str]) -> float:
    """The median of a transaction with the segments of one result, without anything else."""
    took = []
    for data in contents:
        rows = [(segment["text"], segment["start"], segment["end"]) for segment in json.loads(data)["segments"]]
        began = time.perf_counter()
        with bare:
            bare.executemany("INSERT INTO passages (body, begins, ends) VALUES (?, ?, ?)", rows)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def seconds_of(command: list[str]) -> list[float]:
    """Whole processes."""

    def once() -> float:
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began

    return [once() for _ in range(REPEATS)]


async def _measure() -> tuple[list[Figure], list[str]]:
    talk = Talk(seed=1)
    asked = queries(talk.words)
    with workplace() as folder:
        data = folder / "data"
        async with writing(data / "journal.db") as journal:
            await fill(journal, talk)
        bare = bare_copy(data / "journal.db", folder / "bare.db")
        config = Config.model_validate({"paths": {"data": data, "outbox": folder / "outbox"}})
        async with open_app(config, read_only=True) as app:
            medians = await seconds_of_queries(app, bare, asked.values())
        command = [sys.executable, "-m", "host", "search", "--data", str(data), "--words", "--json", talk.words[40]]
        ours = seconds_of(command)
        peer = seconds_of([sys.executable, "-c", "import pydantic, asyncio"])
        long = [talk.transcript(SEGMENTS) for _ in range(COMMITTED)]
        short = [talk.transcript(1) for _ in range(COMMITTED)]
        kept = [await seconds_of_commits(folder, one, indexed=True) for one in (short, long)]
        plain = [await seconds_of_commits(folder, one, indexed=False) for one in (short, long)]
        inserts = [seconds_of_inserts(bare, one) for one in (short, long)]
        bare.close()
    return _figures(asked, medians, (ours, peer), (kept, plain, inserts)), _notes()


def _figures(
    asked: Iterable[str],
    medians: list[tuple[float, float]],
    commands: tuple[list[float], list[float]],
    commits: tuple[list[float], list[float], list[float]],
) -> list[Figure]:
    figures = [
        Figure(f"query: {what}", _ms(ours), _ms(bare), ours * 1000, 250, False, "ms")
        for what, (ours, bare) in zip(asked, medians, strict=True)
    ]
    total = sum(ours for ours, _ in medians), sum(bare for _, bare in medians)
    figures.append(Figure("all six queries", _ms(total[0]), _ms(total[1]), total[0] / total[1], 1.5, False))
    ours, peer = commands
    took = statistics.median(ours)
    figures.append(Figure("`sensorium search --words`, no host", spread(ours), spread(peer), took, 1, False, "s"))
    for what, kept, plain, insert in zip(("1 segment", f"{SEGMENTS} segments"), *commits, strict=True):
        added, beside = kept - plain, f"{_ms(insert)} bare inserts, {_ms(plain)} a commit without an index"
        figures.append(Figure(f"commit of a result of {what}", _ms(kept), beside, added / insert, 2, False))
    return figures


def _notes() -> list[str]:
    return [
        f"{RECORDINGS * SEGMENTS:,} segments of {WORDS} words out of {VOCABULARY:,}; medians of {REPEATS} queries for "
        f"{LIMIT} hits, and of {COMMITTED} commits.",
        f"Beside a query: the same table in a file of its own, `ORDER BY rank LIMIT {LIMIT}` with snippets, sqlite3 "
        "without a thread. Ours also groups moments, looks up events, and tells paths.",
        "Judged of a commit: what the index adds to it, over bare inserts of the same segments and their commit.",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def text_search() -> Report:
    """Queries and commits."""
    figures, notes = asyncio.run(_measure())
    return Report("text_search", "Words in 100,000 segments", figures=figures, notes=notes)

"""Plugins that make further events of lists, work on them, and gather what was found."""

from __future__ import annotations

# Makes a text of each line of a CSV file, at the second that its first column says, and nothing of the line "bad".
SPLITTER = """
import csv
from hooks import hookimpl

@hookimpl
def on_data(events, context):
    for event in events:
        folder = context.scratch / event.id
        folder.mkdir(parents=True, exist_ok=True)
        for number, (second, text, *more) in enumerate(csv.reader(event.open().read().decode().splitlines())):
            path = folder / f"{number}.txt"
            path.write_text(text)
            yield event.derived(path, "line", moment=float(second), number=number)
"""

# Says the length of a text; "torn" fails at once, "wait PATH" lasts until that file is there.
READER = """
import os, time
from hooks import BadInput, Caption, hookimpl

@hookimpl
def on_text(events):
    for event in events:
        text = event.open().read().decode()
        if text == "torn":
            yield event.failure("It is torn.")
            continue
        while text.startswith("wait") and not os.path.exists(text.split()[1]):
            time.sleep(.01)
        yield event.result(Caption(text=f"{text} has {len(text)}"))
"""

# Says what was found in a family, in the order in which it is told of it.
GATHERER = """
from hooks import ResultData, hookimpl

class Gathered(ResultData):
    type = "gathered"
    lines: tuple[str, ...]

@hookimpl
def on_finished(event, results):
    assert results[0].event.id == event.id
    lines = []
    for one in results[1:]:
        assert one.event.parent and one.event.role == "line" and one.event.origin == event.origin
        said = [str(found.data.get("text")) for found in one.found] + list(one.failures.values())
        lines.append(f"{one.event.moment:g} {' '.join(said)}")
    yield event.result(Gathered(lines=lines))
"""

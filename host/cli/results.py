"""`sensorium results` and `sensorium why`: what was found in a file, and what happened to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, Limit, configuration, queries
from host.cli.output import ago, near, pairs, plural, show, show_json, show_whole, size, state, table, text
from host.cli.service import ask
from host.errors import NotFound
from host.names import clock, whereabouts
from host.views import EventView, Explanation, ResultView, Service

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

SHOWN_LABELS = 3
LONGEST = 300
Which = Annotated[str, typer.Argument(metavar="PATH|ID", help="A file, or an event's id (its beginning is enough).")]


def results(
    which: Annotated[str | None, typer.Argument(metavar="[PATH|ID]", help="A file, or the beginning of an id.")] = None,
    limit: Limit = 20,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What was found in a file, or in the latest ones."""
    chosen = configuration(config, data)
    found = ask(chosen, lambda service: _results(service, queries(which, chosen) if which else (), limit))
    if as_json:
        show_json(found)
    elif which is None:
        show(_overview(found) if found else text("Nothing has arrived yet."))
    else:
        for view in found:
            _show_event(view)


def why(which: Which, config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """What happened to a file, and what to do."""
    chosen = configuration(config, data)
    found = ask(chosen, lambda service: _why(service, queries(which, chosen)))
    if as_json:
        show_json(found)
        return
    show_whole(text((found.subject, "bold"), ":"), state(found.state))
    show(pairs([("", sentence) for sentence in found.sentences]))
    facts = [("rule", found.rule), ("event", found.event), ("computing now", found.holder)]
    known = [(name, value) for name, value in facts if value]
    if known:
        show(pairs(known))


async def _results(service: Service, meanings: tuple[str, ...], limit: int) -> list[EventView]:
    """The results of the first meaning that is known; of the latest events where nothing was named."""
    if not meanings:
        return await service.results(None, limit)
    first, *others = meanings
    try:
        return await service.results(first, limit)
    except NotFound:
        if not others:
            raise
    return await _results(service, tuple(others), limit)


async def _why(service: Service, meanings: tuple[str, ...]) -> Explanation:
    found = await service.why(meanings[0])
    for meaning in meanings[1:]:
        if found.state != "unknown":
            break
        other = await service.why(meaning)
        found = found if other.state == "unknown" else other
    return found


def _overview(found: list[EventView]) -> Table:
    grid = table("Event", "File", "Found", "Arrived", whole=["Event", "Arrived"])
    for view in found:
        facts = view.event
        grid.add_row(text((facts.id[:8], "dim")), text(facts.origin), _findings(view), ago(facts.created))
    return grid


def _findings(view: EventView) -> Text:
    """All of an event's findings in one cell."""
    from rich.text import Text

    found = [text(said) for result in view.results if (said := in_words(result, brief=True))]
    waiting = [text((f"waits for {', '.join(view.pending)}", "yellow"))] if view.pending else []
    failed = [text((f"{failure.plugin}: {failure.message}", "red")) for failure in view.failures]
    return Text("\n").join([*found, *waiting, *failed]) or text(("nothing", "dim"))


def _show_event(view: EventView) -> None:
    facts = view.event
    summary = f"  {facts.media_type}, {size(facts.size)}, from {facts.source}, {ago(facts.created)}"
    show_whole(text((whereabouts(facts.origin, facts.moment), "bold"), summary))
    rows = [("event", text(facts.id)), ("content", text(near(facts.path)))]
    if facts.parent:
        rows.append(("part of", text(f"{facts.parent}, its {facts.role}")))
    if facts.tags:
        rows.append(("tags", text(", ".join(facts.tags))))
    if facts.metadata:
        rows.append(("metadata", text(_short(facts.metadata))))
    if view.pending:
        rows.append(("waits for", text((", ".join(view.pending), "yellow"))))
    show(pairs(rows))
    if view.results:
        grid = table("Plugin", "Result", "Found", whole=["Plugin", "Result"])
        for result in view.results:
            grid.add_row(text(result.plugin), text(result.type), text(in_words(result) or ""))
        show("", grid)
    for failure in view.failures:
        tried = plural(failure.attempts, "attempt")
        show(text((f"{failure.plugin} failed after {tried}: {failure.message}", "red"), " ", failure.hint))


def in_words(result: ResultView, *, brief: bool = False) -> str | None:
    """A finding in words; None for one that is of use to machines alone, where it shall be `brief`."""
    data: dict[str, Any] = result.data if isinstance(result.data, dict) else {"value": result.data}
    if isinstance(data.get("text"), str):
        return _cut(str(data["text"]))
    if isinstance(data.get("labels"), list):
        return ", ".join(_label(label) for label in data["labels"][:SHOWN_LABELS])
    if brief and result.type in ("embedding", "thumbnail"):
        return None
    if result.type == "embedding":
        return f"a vector in {data.get('space')}"
    if result.type == "image_info":
        return _picture(data)
    if result.type == "video_info":
        return _film(data)
    if result.type == "timeline":
        return f"{plural(len(data.get('frames', ())), 'picture')}, {plural(len(data.get('speech', ())), 'line')} spoken"
    if result.type == "artifact":
        return None if brief else near(result.artifact or "")
    return " ".join(part for part in (_short(data), near(result.artifact or "")) if part)


def _label(label: Any) -> str:
    return f"{label.get('name')} {label.get('score', 0):.0%}" if isinstance(label, dict) else str(label)


def _picture(data: dict[str, Any]) -> str:
    colors = [str(color.get("hex")) for color in data.get("dominant_colors") or [] if isinstance(color, dict)]
    frames = data.get("frames", 1)
    parts = [f"{data.get('width')} x {data.get('height')} {data.get('format')}"]
    return ", ".join(parts + ([f"{frames} frames"] if frames != 1 else []) + colors[:SHOWN_LABELS])


def _film(data: dict[str, Any]) -> str:
    size = f"{data['width']} x {data['height']}" if data.get("width") else "no pictures"
    parts = [clock(data.get("seconds") or 0.0), size, data.get("codec"), data.get("sound_codec") or "no sound"]
    return ", ".join([*(str(part) for part in parts if part), *map(str, data.get("problems") or ())])


def _short(data: Any) -> str:
    return _cut(json.dumps(data, ensure_ascii=False))


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"

"""`make demo`: the main job on real files, from a fresh inbox to answers, in one go."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from host.app import App, open_app
from host.config import Mqtt, Overrides, load_config
from host.errors import HostError
from host.names import clock, whereabouts
from host.views import EventView
from tools.doorbell import NAME, ring
from tools.drawn_world import Sample, Scene, write_scenes
from tools.films import Heard, Shot, write_film
from tools.spoken_world import Espeak, Take, Voice, write_recording
from tools.spoken_world.espeak import SpeechUnavailable

FOLDER = Path("demo")
SEED = 7
SCENES = (
    Scene("circle", "red", "white", position="left"),
    Scene("circle", "red", "beige", position="right"),
    Scene("square", "blue", "white", position="top"),
    Scene("star", "yellow", "gray", position="center"),
    Scene("triangle", "green", "light blue", count=3),
    Scene("heart", "pink", "white", count=2),
    Scene("cat", "black", "table"),
    Scene("dog", "white", "grass"),
    Scene("boat", "red", "water"),
    Scene("car", "blue", "road"),
    Scene("house", "brown", "snow"),
    Scene("bird", "black", "sky", count=2),
)
BELL = FOLDER / "doorbell"
BELL_SCENES = (Scene("dog", "brown", "grass"), Scene("cat", "orange", "table"))
SHOTS = (0, 3, 6, 8, 11)
SPOKEN = {1.5: "turn on the kitchen light", 12.0: "what is the weather today", 24.0: "open the garden door"}
MEMOS = {
    "heater.mp3": ("turn off the bedroom heater", Voice("en-gb-x-rp+f4", speed=160)),
    "garten.ogg": ("schalte das licht im garten aus", Voice("de+steph2", speed=150)),
    "bonjour.m4a": ("bonjour tout le monde", Voice("fr+m6", speed=150)),
}
SEARCHES = ("a red circle on the left", "a black cat", "a boat in the water", "two birds in the sky")
DONE = "Everything is worked off."
console = Console(highlight=False, soft_wrap=True)


async def demonstrate() -> int:
    """Draw, work off, tell, search; how many files failed."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    inbox, outbox, data = FOLDER / "inbox", FOLDER / "outbox", FOLDER / "data"
    config = load_config(None, Overrides(inboxes=(inbox,), outbox=outbox, data=data))
    # Never the broker that a person has configured: this is only a demonstration.
    config = config.model_copy(update={"mqtt": Mqtt(broker="embedded", name="demo")})
    console.print(f"[bold]Drawing {len(SCENES)} pictures into {inbox}/[/] and working them off ...")
    samples = {sample.path.name: sample for sample in write_scenes(inbox, SCENES, seed=SEED)}
    espeak = _voice()
    film = _make_film(inbox, list(samples.values()), espeak)
    memos = _record_memos(inbox, espeak)
    count = len(SCENES) + 1 + len(memos)
    async with open_app(config) as app, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(app.run(), name="host")
        await _worked_off(app, count, running)
        views = sorted(await app.results(limit=count), key=lambda view: view.event.name)
        console.print(_table([view for view in views if view.event.name in samples], samples))
        _tell_film(next(view for view in views if view.event.name == film.name))
        _tell_memos([view for view in views if view.event.name in memos])
        for text in (*SEARCHES, *SPOKEN.values()):
            await _search(app, text, samples)
        await _speak(app, outbox / "done.wav")
        pictures = [view for view in views if view.event.name in samples]
        await _show_devices(app, {result.plugin for view in pictures for result in view.results})
        app.stop()
    failed = sum(bool(view.failures) for view in views)
    _say_where(outbox, data)
    return failed


def _voice() -> Espeak | None:
    try:
        return Espeak()
    except SpeechUnavailable as error:
        console.print(f"[yellow]Nobody speaks: {error}[/]")
        return None


def _record_memos(inbox: Path, espeak: Espeak | None) -> list[str]:
    """Voice memos in three languages and formats, where a voice is installed; their names."""
    if espeak is None:
        return []
    console.print(f"and {len(MEMOS)} voice memos ...")
    for name, (text, voice) in MEMOS.items():
        write_recording(inbox / name, Take.of([0.4, espeak.say(text, voice), 0.6]).samples)
    return list(MEMOS)


def _tell_memos(views: list[EventView]) -> None:
    if views:
        table = Table("memo", "language", "said", title="What was heard", title_justify="left")
        for view in views:
            (heard,) = (result.data for result in view.results if result.type == "transcript")
            right = heard["text"] == MEMOS[view.event.name][0]
            table.add_row(view.event.name, heard["language"], f"[{'green' if right else 'yellow'}]{heard['text']}[/]")
        console.print(table)


def _make_film(inbox: Path, samples: list[Sample], espeak: Espeak | None) -> Path:
    """A film of some of the pictures, in which something is said where a voice is installed."""
    film = inbox / "film.mp4"
    console.print(f"and a film of half a minute, [bold]{film}[/] ...")
    shots = [Shot(Image.open(samples[number].path).convert("RGB"), 6) for number in SHOTS]
    partial = film.with_name(".film.mp4")  # hidden, so that the host leaves it alone until it is whole
    voice = Voice("en-us+m5", speed=150)
    said = SPOKEN.items() if espeak else ()
    heard = [Heard(second, espeak.say(text, voice).samples) for second, text in said]
    write_film(partial, shots, heard)
    return partial.rename(film)


def _tell_film(view: EventView) -> None:
    found = {result.type: result.data for result in view.results}
    table = Table("moment", "seen", "said", title=f"The timeline of {view.event.name}", title_justify="left")
    line = found["timeline"]
    seen = [(frame["moment"], frame["labels"][0]["name"], "") for frame in line["frames"]]
    said = [(segment["start"], "", segment["text"]) for segment in line["speech"]]
    for moment, what, text in sorted(seen + said):
        table.add_row(clock(moment), what, text)
    console.print(table)


async def _worked_off(app: App, count: int, running: asyncio.Task[object]) -> None:
    while not running.done():
        status = await app.status()
        if status.arrivals >= count and not status.queued and not status.owed:
            return
        await asyncio.sleep(0.1)
    await running


def _table(views: list[EventView], samples: dict[str, Sample]) -> Table:
    table = Table("file", "label", "score", "colours", title="What was found", title_justify="left")
    for view in views:
        found = {result.type: result.data for result in view.results}
        best = found["labels"]["labels"][0]
        colours = "".join(f"[{colour['hex']}]██[/]" for colour in found["image_info"]["dominant_colors"][:3])
        label = _marked(best["name"], samples[view.event.name].scene)
        table.add_row(view.event.name, label, f"{best['score']:.2f}", colours)
    return table


def _marked(label: str, scene: Scene) -> str:
    colour, _, subject = label.partition(" ")
    right = colour == scene.colour and subject.rstrip("s") == scene.subject.rstrip("s")
    return f"[green]{label}[/]" if right else f"[yellow]{label}[/]"


async def _search(app: App, text: str, samples: dict[str, Sample]) -> None:
    hits = await app.search(text=text, limit=3)
    console.print(f'\n[bold]sensorium search "{text}"[/]')
    for hit in hits:
        what = samples[hit.origin].caption if hit.origin in samples else hit.snippet
        console.print(f"  {hit.score:5.2f}  {whereabouts(hit.origin, hit.start):<36} [dim]{escape(what)}[/]")


async def _speak(app: App, out: Path) -> None:
    spoken = await app.say(DONE, str(out))
    console.print(f'\n[bold]sensorium say "{DONE}"[/]')
    console.print(f"  {out}, {spoken.duration:.1f} s, {spoken.voice} [dim](as for inbox/speak/NAME.txt)[/]")


async def _show_devices(app: App, plugins: Collection[str]) -> None:
    """What a device on MQTT publishes and gets, by way of the broker that the host has started."""
    published, asked = write_scenes(BELL, BELL_SCENES, SEED)
    while (broker := await app.broker_view()) is None or broker.state != "connected":  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    console.print(f"\n[bold]A doorbell on MQTT[/], by way of the host's own broker, {broker.broker}")
    for one in await ring(app, published.path, asked.path, plugins):
        says = f"[bold]{one.who}[/] →" if one.who == NAME else f"{one.who}     →"
        console.print(f"  {says} {one.topic:<37} [dim]{one.what}[/]")


def _say_where(outbox: Path, data: Path) -> None:
    console.print(f"\nThe answers lie in [bold]{outbox}/[/], a JSON file for each file; for the film also its")
    console.print("timeline, subtitles and a contact sheet, [bold]film.mp4.contact.jpg[/];")
    console.print(f"the pictures are safe in [bold]{data / 'library'}/[/], the journal is {data / 'journal.db'}.")
    console.print(f'\nGo on: [bold].venv/bin/sensorium search --data {data} "a yellow star"[/]')
    console.print("or [bold]make run[/], and drop pictures of your own into inbox/; in another terminal")
    console.print("[bold].venv/bin/sensorium mqtt publish PICTURE --topic sensorium/in/doorbell/front[/],")
    console.print("while [bold].venv/bin/sensorium mqtt watch[/] in a third one shows what comes and goes.")


def main() -> int:
    """0 when every file has its answers."""
    try:
        return 1 if asyncio.run(demonstrate()) else 0
    except HostError as error:
        console.print(f"[red]{error}[/]")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

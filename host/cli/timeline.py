"""The picture of `sensorium leases --plot`: for each device who was resident and computed, and the memory of it all.

matplotlib is imported here and nowhere else: it comes with the extra `plot`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.errors import HostError, UsageError
from host.views import DeviceMoment, LeaseHistory, ResidencyView, WorkView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
WIDTH, LANE, MEMORY, FRAME = 13.0, 0.36, 1.7, 0.75  # inches: of the page, and heights of a lane, a graph and its frame
STEPS = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)  # seconds
NAMED, LETTERS = 0.06, 150  # of the width: what is long enough for its reason; letters that fit the whole
LITTLE = 0.15  # of a budget: what needs less is drawn larger than to scale with it
EVICTED = "room for"  # how the policy begins the reason
BAR = 0.72  # of a lane's height
INK, FAINT, SHADE = "#333333", "#888888", "#e6e6e6"
# Okabe and Ito's colours, which can be told apart by everybody; then again.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A900", "#7A5195")


@dataclass(frozen=True, slots=True)
class Lanes:
    """One device's part of the history."""

    device: str
    moments: Sequence[DeviceMoment]
    residencies: Sequence[ResidencyView]
    work: Sequence[WorkView]

    @property
    def plugins(self) -> list[str]:
        """Whoever was resident, in the order in which they first came."""
        return list(dict.fromkeys(one.plugin for one in self.residencies))

    @property
    def lanes_height(self) -> float:
        """Inches that its lanes take."""
        return LANE * len(self.plugins) + 0.12


def draw(history: LeaseHistory, target: Path) -> None:
    """Write the timeline as a picture. Raises UsageError for what cannot be drawn, HostError without matplotlib."""
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"{target.name} is no picture that can be drawn.", f"Name it *{', *'.join(FORMATS)}.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        advice = 'Install the extra: pip install "sensorium[plot]".'
        raise HostError("Drawing needs matplotlib, which is not installed.", advice) from error
    devices = list(lanes_of(history))
    if not devices:
        raise UsageError("No model was in memory in that time: there is nothing to draw.", "Look back with --hours.")
    height = sum(one.lanes_height + MEMORY + FRAME for one in devices) + 0.5
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    _page(figure, history, devices)
    try:
        figure.savefig(target, dpi=110)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}.") from error


def lanes_of(history: LeaseHistory) -> Iterator[Lanes]:
    """The devices that held a model, each with its part of the history; GPUs first."""
    kinds = {moment.device: moment.kind for moment in history.devices}
    rank = {"gpu": 0, "cpu": 1}
    names = {one.device for one in history.residencies}
    for name in sorted(names, key=lambda name: (rank.get(kinds.get(name, ""), 2), name)):
        moments = [moment for moment in history.devices if moment.device == name]
        residencies = [one for one in history.residencies if one.device == name]
        yield Lanes(name, moments, residencies, [one for one in history.work if one.device == name])


def levels(lanes: Lanes, since: float, until: float) -> tuple[list[float], dict[str, list[float]]]:
    """The memory of each plugin as steps: moments, and from each on how many MB it has until the next."""
    stays = [(max(one.loading, since), min(one.gone or until, until), one) for one in lanes.residencies]
    times = sorted({since, until, *(moment for begin, end, _ in stays for moment in (begin, end))})
    held = {
        plugin: [
            sum(one.memory_mb for begin, end, one in stays if one.plugin == plugin and begin <= moment < end)
            for moment in times
        ]
        for plugin in lanes.plugins
    }
    return times, held


def _page(figure: Figure, history: LeaseHistory, devices: Sequence[Lanes]) -> None:
    heights = [height for one in devices for height in (one.lanes_height, MEMORY)]
    grid = figure.subplots(2 * len(devices), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    plugins = dict.fromkeys(plugin for one in devices for plugin in one.plugins)
    colours = {plugin: COLOURS[number % len(COLOURS)] for number, plugin in enumerate(plugins)}
    for number, one in enumerate(devices):
        lanes, memory = grid[2 * number : 2 * number + 2]
        _draw_lanes(lanes, one, history.until, colours)
        _draw_memory(memory, one, history, colours)
        for axes in (lanes, memory):
            _shade(axes, one.moments, history)
        _name_withdrawals(memory, one.moments, history)
    _time_axis(grid[-1], history)
    _legend(figure)
    figure.suptitle(_title(history), x=0.01, ha="left", fontsize=12, color=INK)


def _draw_lanes(axes: Axes, lanes: Lanes, until: float, colours: dict[str, str]) -> None:
    rows = {plugin: number for number, plugin in enumerate(lanes.plugins)}
    for one in lanes.residencies:
        colour, row = colours[one.plugin], rows[one.plugin]
        gone = one.gone or until
        _bar(axes, row, one.loading, gone, facecolor=colour, alpha=0.28)
        for begin, end in ((one.loading, one.loaded or gone), (one.leaving or gone, gone)):
            _bar(axes, row, begin, end, facecolor="none", edgecolor=colour, hatch="//////", linewidth=0)
        if one.reason.startswith(EVICTED):
            axes.plot(gone, row, marker="x", color=INK, markersize=6, markeredgewidth=1.6, zorder=4)
    for span in lanes.work:
        if span.plugin in rows:
            _bar(axes, rows[span.plugin], span.began, span.ended, facecolor=colours[span.plugin])
    axes.set_yticks(list(rows.values()), list(rows), fontsize=9)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(lanes.device, loc="left", fontsize=10.5, fontweight="bold", color=INK)
    _bare(axes)


def _bar(axes: Axes, row: int, begin: float, end: float, **style: Any) -> None:
    if end > begin:
        axes.broken_barh([(begin, end - begin)], (row - BAR / 2, BAR), **{"linewidth": 0, **style})


def _draw_memory(axes: Axes, lanes: Lanes, history: LeaseHistory, colours: dict[str, str]) -> None:
    times, held = levels(lanes, history.since, history.until)
    base = [0.0] * len(times)
    for plugin, memory in held.items():
        top = [below + more for below, more in zip(base, memory, strict=True)]
        axes.fill_between(times, base, top, step="post", color=colours[plugin], alpha=0.75, linewidth=0)
        base = top
    most = max([*base, 1.0])
    if lanes.moments:
        _draw_budget(axes, lanes.moments, history)
        budget = max(moment.budget_mb for moment in lanes.moments)
        most = budget if most > LITTLE * budget else most  # else the line lies above, and only its words are seen
    axes.set_ylim(0, most * 1.18)
    axes.yaxis.set_major_locator(_ticks())
    axes.yaxis.set_major_formatter(lambda mb, _: gigabytes(mb))
    axes.tick_params(axis="y", labelsize=8, colors=FAINT)
    axes.grid(axis="y", color=SHADE, linewidth=0.6)
    axes.set_axisbelow(True)
    _bare(axes)


def _draw_budget(axes: Axes, moments: Sequence[DeviceMoment], history: LeaseHistory) -> None:
    times = [*(max(moment.at, history.since) for moment in moments), history.until]
    levels = [moment.budget_mb for moment in moments]
    axes.step(times, [*levels, levels[-1]], where="post", color=INK, linewidth=1.2)
    words = f"budget {gigabytes(levels[-1])}"
    axes.set_title(words, loc="right", fontsize=8, color=INK, pad=2)


def _ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])


def gigabytes(mb: float) -> str:
    """Memory for people: MB below 1 GB."""
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1000:.3g} GB"


def _withdrawals(moments: Sequence[DeviceMoment], history: LeaseHistory) -> Iterator[tuple[float, float, str]]:
    """From when until when the device was withdrawn, and why."""
    ends = [*(moment.at for moment in moments[1:]), history.until]
    for moment, end in zip(moments, ends, strict=False):  # without a moment there is an end all the same
        if moment.withdrawn:
            yield max(moment.at, history.since), end, moment.withdrawn


def _shade(axes: Axes, moments: Sequence[DeviceMoment], history: LeaseHistory) -> None:
    for begin, end, _ in _withdrawals(moments, history):
        axes.axvspan(begin, end, facecolor=SHADE, edgecolor="white", hatch="..", zorder=0, linewidth=0)


def _name_withdrawals(axes: Axes, moments: Sequence[DeviceMoment], history: LeaseHistory) -> None:
    for begin, end, reason in _withdrawals(moments, history):
        if end - begin > NAMED * (history.until - history.since):
            width = int((end - begin) / (history.until - history.since) * LETTERS)
            words = textwrap.shorten(reason, width, placeholder=" …")
            middle = (begin + end) / 2
            axes.text(middle, 0.45, words, transform=axes.get_xaxis_transform(), ha="center", fontsize=8.5, color=INK)


def _bare(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(length=0)


def _time_axis(axes: Axes, history: LeaseHistory) -> None:
    """Local times at round moments; the axis itself counts seconds."""
    axes.set_xlim(history.since, history.until)
    step = next((step for step in STEPS if (history.until - history.since) / step <= 12), STEPS[-1])
    offset = datetime.fromtimestamp(history.until).astimezone().utcoffset()
    shift = offset.total_seconds() if offset else 0.0
    first = math.ceil((history.since + shift) / step) * step - shift
    ticks = [first + number * step for number in range(int((history.until - first) // step) + 1)]
    style = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86_400 else "%d %b"
    axes.set_xticks(ticks, [datetime.fromtimestamp(tick).strftime(style) for tick in ticks], fontsize=9)
    axes.tick_params(axis="x", length=3, colors=INK)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    grey = "#777777"
    entries = [
        Patch(facecolor=grey, alpha=0.28, label="resident"),
        Patch(facecolor=grey, label="computing"),
        Patch(facecolor="none", edgecolor=grey, hatch="//////", label="loading, leaving"),
        Line2D([], [], color=INK, marker="x", linestyle="none", markeredgewidth=1.6, label="left to make room"),
        Patch(facecolor=SHADE, edgecolor="white", hatch="..", linewidth=0, label="withdrawn"),
    ]
    figure.legend(handles=entries, loc="outside upper right", ncols=len(entries), fontsize=8.5, frameon=False)


def _title(history: LeaseHistory) -> str:
    begin, end = (datetime.fromtimestamp(at) for at in (history.since, history.until))
    until = end.strftime("%H:%M" if begin.date() == end.date() else "%d %b %H:%M")
    return f"Models in memory, {begin.strftime('%d %b %Y %H:%M')} to {until}"

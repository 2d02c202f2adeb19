"""The picture of the leases: what is drawn where."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from host.cli import timeline
from host.cli.timeline import draw, lanes_of, levels
from host.errors import UsageError
from host.views import DeviceMoment, LeaseHistory, ResidencyView, WorkView

SINCE, UNTIL = 1_790_000_000.0, 1_790_003_600.0


def stay(plugin, begin, end=None, device="gpu0", memory_mb=1000.0, reason=""):
    gone = None if end is None else SINCE + end
    return ResidencyView(
        device=device, plugin=plugin, model=plugin, memory_mb=memory_mb, loading=SINCE + begin,
        loaded=SINCE + begin + 10, leaving=gone and gone - 2, gone=gone, reason=reason,
    )  # fmt: skip


def moment(device, kind, at=-60.0, withdrawn=""):
    return DeviceMoment(device=device, kind=kind, budget_mb=3000, withdrawn=withdrawn, at=SINCE + at)


def history(*residencies, moments=(), work=()):
    return LeaseHistory(since=SINCE, until=UNTIL, devices=list(moments), residencies=list(residencies), work=list(work))


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw, and hand out the figure."""
    figures = []

    def keep(self, *args, **options):
        figures.append(self)
        return save(self, *args, **options)

    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", keep)

    def run(found):
        draw(found, tmp_path / "a.svg")
        return figures[-1], (tmp_path / "a.svg").read_text()

    return run


def test_memory_rises_when_a_model_is_loaded_and_falls_when_it_is_gone():
    (lanes,) = lanes_of(history(stay("a", 100, 200), stay("b", 150, memory_mb=500)))
    times, held = levels(lanes, SINCE, UNTIL)
    assert [moment - SINCE for moment in times] == [0, 100, 150, 200, 3600]
    assert held == {"a": [0, 1000, 1000, 0, 0], "b": [0, 0, 500, 500, 0]}


def test_what_began_before_the_time_is_drawn_from_its_beginning():
    (lanes,) = lanes_of(history(stay("a", -500, 200)))
    times, held = levels(lanes, SINCE, UNTIL)
    assert (times[0], held["a"]) == (SINCE, [1000, 0, 0])


def test_gpus_come_first_and_devices_without_a_model_are_left_out():
    moments = [moment("cpu", "cpu"), moment("gpu0", "gpu"), moment("gpu1", "gpu"), moment("light", "none")]
    found = history(stay("c", 0, device="light"), stay("b", 0, device="cpu"), stay("a", 0), moments=moments)
    assert [lanes.device for lanes in lanes_of(found)] == ["gpu0", "cpu", "light"]


def test_each_device_has_its_lanes_and_its_memory(drawn):
    figure, _ = drawn(history(stay("a", 0), stay("b", 9), stay("c", 5, device="cpu"), moments=[moment("gpu0", "gpu")]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["gpu0", "", "cpu", ""]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert {axes.get_xlim() for axes in figure.axes} == {(SINCE, UNTIL)}


def test_a_model_that_made_room_is_marked_and_one_that_was_idle_is_not(drawn):
    figure, _ = drawn(history(stay("a", 0, 900, reason="room for b"), stay("b", 900, 1800, reason="idle")))
    marks = [line.get_xdata()[0] - SINCE for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert marks == [900]


def test_the_reason_of_a_withdrawal_stands_in_it(drawn):
    moments = [moment("gpu0", "gpu"), moment("gpu0", "gpu", 600, "quiet hours"), moment("gpu0", "gpu", 1800)]
    figure, svg = drawn(history(stay("a", 0, 601), moments=moments))
    assert [words.get_text() for words in figure.axes[1].texts if "budget" not in words.get_text()] == ["quiet hours"]
    assert "<svg" in svg


def test_work_is_drawn_in_its_models_lane(drawn):
    span = WorkView(device="gpu0", plugin="b", began=SINCE + 100, ended=SINCE + 160, batches=3)
    figure, _ = drawn(history(stay("a", 0), stay("b", 50), work=[span]))
    bars = [path.get_extents() for bars in figure.axes[0].collections for path in bars.get_paths()]
    assert any((bar.x0, bar.x1) == (SINCE + 100, SINCE + 160) and bar.y0 < 1 < bar.y1 for bar in bars)


@pytest.mark.parametrize(("seconds", "most"), [(30, 12), (3600, 12), (86_400, 12), (30 * 86_400, 16)])
def test_the_time_axis_is_never_crowded(drawn, seconds, most):
    found = history(stay("a", 0)).model_copy(update={"until": SINCE + seconds})
    figure, _ = drawn(found)
    ticks = figure.axes[-1].get_xticks()
    assert 2 <= len(ticks) <= most + 1
    assert SINCE <= min(ticks) <= max(ticks) <= SINCE + seconds


def test_a_time_without_a_model_has_no_picture(tmp_path: Path):
    with pytest.raises(UsageError, match="No model was in memory in that time"):
        draw(history(), tmp_path / "a.png")


def test_memory_is_told_in_the_unit_that_fits():
    assert [timeline.gigabytes(mb) for mb in (0, 512, 1500, 24_000)] == ["0 MB", "512 MB", "1.5 GB", "24 GB"]

"""How things are put into words."""

import pytest

from host.cli.options import queries
from host.cli.output import ago, near, plural, size
from host.cli.results import in_words
from host.config import Config, Inbox
from host.views import ResultView

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s ago"), (0, "0 s ago"), (89, "89 s ago"), (90, "2 min ago"), (5399, "90 min ago"), (5400, "2 h ago")],
)
def test_times_are_told_roughly(seconds, words):
    assert ago(NOW - seconds, NOW) == words


def test_times_of_other_days_are_told_as_dates():
    assert ago(NOW - 100_000, NOW).startswith("2027-01-1")


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (1_234_567, "1.2 MB"), (5 * 10**15, "5000 TB")],
)
def test_sizes_are_told_in_the_unit_that_fits(count, words):
    assert size(count) == words


def test_one_is_not_many():
    assert [plural(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_a_path_below_the_current_folder_is_told_as_it_is_typed(here):
    assert near(f"{here}/a/b.png") == "a/b.png"
    assert near(f"{here}-other/b.png") == f"{here}-other/b.png"
    assert near("/b.png") == "/b.png"


# --- what PATH|ID means ---


def test_a_path_is_made_absolute_because_the_host_runs_elsewhere(here):
    assert queries("sub/cat.png", Config()) == (f"{here}/sub/cat.png",)
    assert queries("/x/../cat.png", Config()) == ("/cat.png",)


def test_an_id_is_left_alone_unless_a_file_has_that_name(here):
    assert queries("c0ffee", Config()) == ("c0ffee",)
    (here / "c0ffee").write_text("")
    assert queries("c0ffee", Config()) == (f"{here}/c0ffee",)


def test_a_bare_name_may_be_of_here_of_an_inbox_or_of_anywhere(here):
    config = Config(inboxes=[Inbox(path="a"), Inbox(path="/b")])
    assert queries("cat.png", config) == (f"{here}/cat.png", f"{here}/a/cat.png", "/b/cat.png", "cat.png")
    assert queries("cafe.png", config)[-1] == "cafe.png"


def test_bytes_that_are_no_text_become_text(here):
    assert queries("./odd-\udcff", Config()) == (f"{here}/" + r"odd-\xff",)


# --- findings ---


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("caption", {"text": "a red circle"}, "a red circle"),
        ("labels", {"labels": [{"name": "cat", "score": 0.934}, {"name": "dog", "score": 0.05}]}, "cat 93%, dog 5%"),
        ("labels", {"labels": [{"name": str(n), "score": 0.1} for n in range(9)]}, "0 10%, 1 10%, 2 10%"),
        ("labels", {"labels": []}, ""),
        (
            "image_info",
            {
                "width": 4,
                "height": 3,
                "format": "PNG",
                "frames": 1,
                "dominant_colors": [{"hex": "#ff0000", "share": 1}],
            },
            "4 x 3 PNG, #ff0000",
        ),
        ("image_info", {"width": 4, "height": 3, "format": "GIF", "frames": 7}, "4 x 3 GIF, 7 frames"),
        ("embedding", {"space": "tiny"}, "a vector in tiny"),
        ("timeline", {"frames": [{}, {}], "speech": [{}]}, "2 pictures, 1 line spoken"),
        (
            "video_info",
            {"seconds": 61.5, "width": 4, "height": 3, "codec": "h264", "sound_codec": "", "problems": ["Cut off."]},
            "00:01:01, 4 x 3, h264, no sound, Cut off.",
        ),
        ("something.new", {"a": [1, {"b": None}]}, '{"a": [1, {"b": null}]}'),
        ("something.new", [1, 2], '{"value": [1, 2]}'),
        ("something.new", None, '{"value": null}'),
        ("something.new", {"text": "x" * 400}, "x" * 299 + "…"),
        ("labels", {"labels": ["plain", {"name": None}]}, "plain, None 0%"),
    ],
)
def test_a_finding_is_put_into_words(kind, data, words):
    assert in_words(ResultView(plugin="p", type=kind, version=1, data=data, provenance={})) == words


def test_what_only_machines_need_is_left_out_of_an_overview():
    vector = ResultView(plugin="p", type="embedding", version=1, data={"space": "tiny"}, provenance={})
    assert in_words(vector, brief=True) is None


def test_a_file_that_a_plugin_made_is_named():
    picture = ResultView(plugin="p", type="thumbnail", version=1, data={"width": 9}, artifact="/a.webp", provenance={})
    assert in_words(picture) == '{"width": 9} /a.webp'

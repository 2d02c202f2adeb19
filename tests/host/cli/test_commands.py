"""Each command beside a running host: what people see, and the documented shapes behind `--json`."""

import json
import os
import re
import sys

import pytest
from pydantic import TypeAdapter

from host.lock import HostLock
from host.views import (
    EventView,
    Explanation,
    Hit,
    LeaseTable,
    ModelView,
    MqttView,
    PlanView,
    PluginView,
    SinkView,
    SourceView,
    Status,
    Submitted,
)
from tests.fakes import NOW

EVENT_ID = re.compile(r"[0-9a-f]{32}")


def as_json(ended, shape):
    """What was printed, as the documented shape."""
    return TypeAdapter(shape).validate_json(ended.out)


# --- status ---


def test_status_shows_what_waits_what_is_loaded_and_what_failed(cli, host):
    host.add("cat.png")
    host.add("new.png", None)
    host.add("bad.png", error="It is cut off.")
    host.refuse("pipe", "It is a named pipe.")
    ended = cli("status")
    assert ended.code == 0
    assert "Running (process 4711) 3 events, 1 queued, 1 failed, 1 refused" in ended.flat
    assert "clip 1 0 1 1" in ended.flat
    assert "612 of 8000 MB clip clip" in ended.flat
    assert "bad.png clip It is cut off. Ask for another picture." in ended.flat
    assert "pipe inbox It is a named pipe." in ended.flat


def test_status_shows_an_alarm_and_a_pause(cli, host):
    host.alarm = "the folder is gone: mount it again"
    host.paused = True
    shown = cli("status").flat
    assert "Paused (process 4711)" in shown
    assert "sensorium resume" in shown
    assert "the folder is gone: mount it again" in shown


def test_status_shows_the_broker_and_what_keeps_the_host_from_it(cli, host):
    assert "MQTT" not in cli("status").flat
    host.mqtt = MqttView(broker="mqtt://127.0.0.1:1884", embedded=True, state="connected", since=NOW, taken=3)
    assert "mqtt://127.0.0.1:1884 (our own) connected since" in cli("status").flat
    host.mqtt = MqttView(broker="mqtts://b:8883", embedded=False, state="away", since=NOW, owed=7, alarm="It is gone.")
    shown = cli("status").flat
    assert "mqtts://b:8883 away since" in shown
    assert "It is gone." in shown
    assert as_json(cli("status", "--json"), Status).mqtt == host.mqtt


def test_status_shows_what_plugins_bring_in_and_whom_they_cannot_tell(cli, host):
    assert "Sink" not in cli("status").flat
    host.sources = [
        SourceView(name="podcast.history", plugin="podcast", state="resting", taken=4),
        SourceView(name="post", plugin="post", state="failing", alarm="The line is dead."),
    ]
    host.sinks = [
        SinkView(name="webhook", in_use=True, owed=17, given_up=2, alarm="example.org answered 503"),
        SinkView(name="diary", in_use=False, owed=1),
    ]
    shown = cli("status").flat
    assert "podcast.history podcast 4 resting" in shown
    assert "post post 0 The line is dead." in shown
    assert "webhook 17 2 example.org answered 503 It is tried again." in shown
    assert "diary 1 0 not in use" in shown


def test_plugins_says_who_brings_things_in_and_who_is_told(cli, host):
    hooks = ["on_result", "on_text", "read_source", "register_sources"]
    about = {"name": "post", "version": "1", "distribution": "post", "api": "1", "model": None}
    host.more_plugins = [PluginView(hooks=hooks, enabled=True, **about)]
    assert "told of results, text, brings things in" in cli("plugins").flat


def test_status_as_json_has_the_documented_shape(cli, host):
    host.add("cat.png")
    found = as_json(cli("status", "--json"), Status)
    assert (found.running, found.events) == (4711, 1)


# --- results ---


def test_results_lists_the_latest_first(cli, host):
    host.add("one.png", "a red circle")
    host.add("two.png", None)
    host.add("bad.png", error="It is cut off.")
    shown = cli("results").out
    assert shown.index("bad.png") < shown.index("two.png") < shown.index("one.png")
    assert "a red circle" in shown
    assert "waits for clip" in shown
    assert "clip: It is cut off." in shown
    assert "one.png" not in cli("results", "--limit", "2").out


def test_results_of_one_file_show_all_that_is_known(cli, host):
    event = host.add("cat.png", "a red circle")
    shown = cli("results", "cat.png").flat
    assert "cat.png image/png, 1.2 kB, from inbox" in shown
    assert f"event {event}" in shown
    assert "content data/library/" in shown
    assert "clip caption a red circle" in shown


def test_results_of_one_file_show_what_failed_and_what_to_do(cli, host):
    host.add("bad.png", error="It is cut off.")
    assert "clip failed after 3 attempts: It is cut off. Ask for another picture." in cli("results", "bad.png").flat


def test_the_beginning_of_an_id_is_enough(cli, host):
    event = host.add("cat.png")
    (view,) = as_json(cli("results", event[:6], "--json"), list[EventView])
    assert view.event.id == event


def test_results_say_when_there_are_none(cli, host):
    assert cli("results").out == "Nothing has arrived yet.\n"
    assert as_json(cli("results", "--json"), list[EventView]) == []


def test_a_bare_name_finds_a_file_of_another_folder(cli, host, here, monkeypatch):
    host.add("cat.png")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert cli("results", "cat.png", "--data", str(here / "data")).code == 0


# --- why ---


def test_why_explains_in_sentences(cli, host):
    host.add("new.png", None)
    shown = cli("why", "new.png").flat
    assert "new.png: queued It waits for clip; 2 are before it." in shown
    assert "computing now clip" in shown


def test_why_as_json_has_the_documented_shape(cli, host):
    host.add("bad.png", error="It is cut off.")
    found = as_json(cli("why", "bad.png", "--json"), Explanation)
    assert (found.state, found.jobs[0].advice) == ("failed", "Ask for another picture.")


def test_why_of_something_unknown_says_so(cli, host):
    assert "unknown Nothing is known of" in cli("why", "nothing.png").flat


# --- search ---


def test_search_prints_scores_and_paths_best_first(cli, host):
    host.add("one.png", "a red circle")
    host.add("two.png", "a red square")
    host.add("three.png", "a blue boat")
    shown = cli("search", "red", "circle").out
    assert shown.index("1.000") < shown.index("0.500")
    assert shown.index("one.png") < shown.index("two.png")
    assert "three.png" not in shown
    assert "data/library/" in shown


def test_search_as_json_is_a_list_of_objects_with_score_path_and_event(cli, host):
    event = host.add("one.png", "a red circle")
    (hit,) = json.loads(cli("search", "red", "--json").out)
    assert (hit["score"], hit["event"]) == (1.0, event)
    assert hit["path"].startswith(host.data)
    Hit.model_validate(hit)


def test_search_by_a_picture_sends_its_absolute_path(cli, host):
    host.add("circle.png", "circle png")
    (hit,) = as_json(cli("search", "--like", "circle.png", "--json"), list[Hit])
    assert hit.score == 1.0


def test_search_that_finds_nothing_says_so(cli, host):
    assert cli("search", "nothing").out.startswith("Nothing was found.")
    assert cli("search", "nothing", "--json").out == "[]\n"


def heard(host, name="talk.wav", start=751.4):
    hit = Hit(
        score=0.5, path=f"/library/{name}", event="ab" * 10, origin=name, source="inbox", kind="audio", start=start,
        end=start + 2, snippet="the [budget] for next year", matched=["transcript"],
    )  # fmt: skip
    host.heard.append(hit)
    return hit


def test_search_prints_where_in_a_recording_it_was_said_and_marks_the_words(cli, host):
    heard(host)
    host.add("one.png", "the budget")
    shown = cli("search", "budget").out
    assert "talk.wav 00:12:31" in shown
    assert "the [budget] for next year" in shown
    assert "one.png 00" not in shown


def test_search_as_json_says_where_and_what(cli, host):
    hit = heard(host)
    assert as_json(cli("search", "budget", "--json"), list[Hit]) == [hit]


def test_search_for_a_kind_or_by_words_alone(cli, host):
    heard(host)
    host.add("one.png", "the budget")
    assert len(json.loads(cli("search", "budget", "--json").out)) == 2
    for option in (["--kind", "audio"], ["--words"]):
        (hit,) = json.loads(cli("search", "budget", *option, "--json").out)
        assert hit["kind"] == "audio"
    assert "No kind of file is called 'song'. Say one of: image, audio" in cli("search", "x", "--kind", "song").flat_err


def test_search_beside_a_command_that_has_the_data_directory_only_reads(cli, here):
    with HostLock(here / "data"):
        assert cli("search", "budget", "--json").out == "[]\n"


@pytest.mark.parametrize("words", [[], [""], ["red", "--like", "x.png"], ["--words", "--like", "x.png"]])
def test_search_wants_a_text_or_a_picture(cli, host, words):
    ended = cli("search", *words)
    assert (ended.code, ended.out) == (2, "")
    assert "Say what to search for: a text, or a picture with --like." in ended.err


# --- submit and requeue ---


def test_submit_takes_files_by_their_absolute_path(cli, host, here):
    (here / "a.png").write_bytes(b"x")
    ended = cli("submit", "a.png", "--json")
    (one,) = as_json(ended, list[Submitted])
    assert (ended.code, one.path, one.state) == (0, str(here / "a.png"), "accepted")
    assert EVENT_ID.fullmatch(one.event)


def test_submit_tells_each_file_its_fate_and_fails_when_one_was_refused(cli, host, here):
    (here / "a.png").write_bytes(b"x")
    ended = cli("submit", "a.png", "nothing.png")
    assert ended.code == 6
    assert "a.png accepted" in ended.flat
    assert "nothing.png refused It is not a file." in ended.flat
    assert "1 of 2 files could not be worked on." in ended.err


def test_submit_and_wait_says_how_the_work_ended(cli, host, here):
    (here / "a.png").write_bytes(b"x")
    (here / "broken.png").write_bytes(b"x")
    ended = cli("submit", "a.png", "broken.png", "--wait")
    assert ended.code == 6
    assert "a.png done" in ended.flat
    assert "broken.png failed" in ended.flat
    assert "The picture is cut off." in ended.flat


def test_requeue_takes_all_that_failed_or_what_is_named(cli, host):
    for name in ("a.png", "b.png", "c.png"):
        host.add(name, error="It broke.")
    assert cli("requeue", "a.png").out == "1 job queued again.\n"
    assert json.loads(cli("requeue", "--json").out) == {"requeued": 2}
    assert cli("requeue").out == "There was nothing to queue again.\n"


def test_requeue_takes_finished_jobs_when_asked_to(cli, host):
    host.add("a.png")
    assert cli("requeue", "a.png").out == "There was nothing to queue again.\n"
    assert cli("requeue", "a.png", "--done", "--plugin", "clip").out == "1 job queued again.\n"


# --- the rest ---


def test_plugins_says_which_are_in_use_and_why_others_are_not(cli, host):
    shown = cli("plugins").flat
    assert "clip 0.1.0 sensorium image tiny in use" in shown
    assert "broken 0.1.0 sensorium it failed to import" in shown
    assert len(as_json(cli("plugins", "--json"), list[PluginView])) == 3


def test_models_shows_memory_load_time_and_state(cli, host):
    assert "clip tiny cpu ready 512 MB (~600 MB) 2.2 s 3 300 s" in cli("models").flat
    assert as_json(cli("models", "--json"), list[ModelView])[0].pid == 4712


def test_pause_and_resume_change_the_host(cli, host):
    assert cli("pause").out == "Paused. `sensorium resume` goes on.\n"
    assert host.paused
    assert json.loads(cli("resume", "--json").out) == {"paused": False}
    assert not host.paused


def test_the_gpu_alone_can_be_paused(cli, host):
    assert "sensorium resume --gpu" in cli("pause", "--gpu").out
    assert not host.paused
    assert "withdrawn: `sensorium pause --gpu`" in cli("status").flat
    assert json.loads(cli("resume", "--gpu", "--json").out) == {"gpu_paused": False}
    assert "withdrawn" not in cli("status").flat


def test_quiet_hours_are_not_ended_by_resume(cli, host):
    host.quiet = "quiet hours until 07:00"
    assert cli("resume").out == "Still paused: quiet hours until 07:00.\n"
    assert cli("resume", "--gpu").out == "Still paused: cpu: quiet hours until 07:00.\n"
    assert "Paused (process 4711), quiet hours until 07:00" in cli("status").flat


# --- errors ---


def test_an_error_is_a_sentence_on_standard_error_with_what_to_do(cli, host):
    ended = cli("results", "./nothing.png")
    assert (ended.code, ended.out) == (5, "")
    path = os.path.abspath("nothing.png")
    advice = "Name a file in an inbox, a submitted file, or an event id."
    assert ended.err == f"Error: Nothing is known of {path}.\n{advice}\n"


def test_an_unknown_plugin_is_not_found(cli, host):
    ended = cli("requeue", "--plugin", "zzz")
    assert ended.code == 5
    assert "`sensorium plugins` lists them." in ended.err


def test_a_mistake_in_the_configuration_is_shown_by_every_command(cli, host, here):
    (here / "config.toml").write_text("[jobs]\natempts = 3\n")
    for command in (
        ["status"],
        ["results"],
        ["why", "x"],
        ["search", "x"],
        ["plugins"],
        ["models"],
        ["pause"],
        ["run"],
    ):
        ended = cli(*command)
        assert ended.code == 3
        assert ended.err == (
            "Error: config.toml, line 2: `atempts` is not a setting of [jobs]; did you mean `attempts`?\n"
        )


@pytest.mark.parametrize("words", [["nope"], ["status", "--nope"], ["why"], ["submit"], ["results", "--limit", "0"]])
def test_a_command_that_cannot_be_understood_ends_with_2(cli, words):
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage:" in ended.err


# --- names that would steer a terminal ---

EVIL = "a\x1b[31m\x1b]0;title\x07\n[bold]b[/bold]:smile:\u202egnp.png"


def test_names_and_findings_are_printed_as_they_are_and_never_as_commands(cli, host):
    host.add(EVIL, f"caption {EVIL}")
    host.add(f"x{EVIL}", error=f"error {EVIL}")
    host.refuse(f"y{EVIL}", f"reason {EVIL}")
    host.alarm = EVIL
    for command in (["status"], ["results"], ["why", EVIL], ["search", "caption"], ["results", EVIL], ["submit", EVIL]):
        ended = cli(*command)
        shown = ended.out + ended.err
        assert not set(shown) & set("\x1b\x07\u202e"), command
        assert r"a\x1b[31m\x1b]0;title\x07\n[bold]b[/bold]:smile:\u202egnp.png" in "".join(shown.split()), command


def test_json_is_ascii_whatever_the_names_are(cli, host):
    host.add(EVIL, "Ünïcode")
    shown = cli("results", "--json").out
    assert shown.isascii()
    assert json.loads(shown)[0]["event"]["origin"] == EVIL


def test_a_name_that_is_not_utf8_reaches_the_host_as_text(cli, host, here):
    ended = cli("submit", os.fsdecode(b"odd-\xff.png"))
    assert r"odd-\xff.png refused" in ended.flat


# --- plan ---


def test_plan_says_what_stays_what_swaps_and_what_never_fits(cli, host):
    shown = cli("plan", "--profile", "6gb").flat
    assert "gpu0 GPU 5644 MB for models, 500 MB left to other programs" in shown
    assert "clip tiny 612 MB 2.0 s stays" in shown
    assert "phi phi-3.5 3500 MB 12.0 s swaps with blip" in shown
    assert "giant giant ~48000 MB ? never fits: giant needs 48000 MB." in shown
    assert "In memory together: blip + clip; or clip + phi" in shown
    assert "With one job for each in turn, 1.5 models are loaded again, which takes 18 s" in shown


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), (None, None)),
        (("--profile", "6gb"), ([6144], None)),
        (("--profile", "tiny"), ([], None)),
        (("--gpu", "6gb", "--gpu", "8192 MB"), ([6144, 8192], None)),
        (("--gpu", "1.5GB", "--cpu", "12"), ([1536], 12288)),
    ],
)
def test_plan_takes_sizes_as_people_write_them(cli, host, words, asked):
    assert as_json(cli("plan", *words, "--json"), PlanView).devices
    assert host.planned == asked


@pytest.mark.parametrize("size", ["", "six", "6tb", "-1gb", "0", "1e9gb", "6 gb 7"])
def test_what_is_no_size_is_refused(cli, host, size):
    ended = cli("plan", f"--gpu={size}")
    assert ended.code == 2
    assert "is no size of memory. Write it as 6gb or 8192mb." in " ".join(ended.err.split())


def test_plan_has_one_size_of_a_gpu(cli, host):
    ended = cli("plan", "--gpu", "6gb", "--profile", "6gb")
    assert (ended.code, host.planned) == (2, None)
    assert "Use one of them." in ended.err


# --- leases ---


def test_leases_shows_memory_the_lease_residents_and_who_waits(cli, host):
    shown = cli("leases").flat
    assert "Running (process 4711)" in shown
    assert "cpu CPU" in shown
    assert "612 of 8000 MB, 7388 free lease clip (number 3, for 75 s)" in shown
    assert "clip tiny ready 612 MB 40 s 4 min 3 jobs, 1 urgent 12 s" in shown
    assert "phi phi-3.5 queued 20 jobs 10 min" in shown
    assert "left: blip" in shown
    assert "(room for clip)" in shown


def test_leases_says_why_a_device_is_not_used(cli, host):
    host.withdrawn = "quiet hours until 18:00"
    assert "withdrawn: quiet hours until 18:00" in cli("leases").flat


def test_leases_as_json_has_the_documented_shape(cli, host):
    found = as_json(cli("leases", "--json"), LeaseTable)
    assert [one.plugin for one in found.devices[0].waiting] == ["clip", "phi"]


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_leases_draws_the_last_hours(cli, host, here, name, begins):
    ended = cli("leases", "--plot", name, "--hours", "1")
    assert ended.out == f"Drawn: {name}\n"
    assert (here / name).read_bytes().startswith(begins)


def test_a_picture_that_cannot_be_drawn_is_refused(cli, host):
    ended = cli("leases", "--plot", "a.gif")
    assert ended.code == 2
    assert "a.gif is no picture that can be drawn. Name it *.png" in " ".join(ended.err.split())


def test_a_picture_that_cannot_be_written_is_said_to_be_that(cli, host):
    ended = cli("leases", "--plot", "nowhere/a.png")
    assert ended.code == 2
    assert "nowhere/a.png cannot be written: No such file or directory." in ended.err


def test_without_matplotlib_it_is_said_what_to_install(cli, host, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ended = cli("leases", "--plot", "a.png")
    assert ended.code == 1
    assert "Drawing needs matplotlib" in ended.err
    assert 'pip install "sensorium[plot]"' in ended.err

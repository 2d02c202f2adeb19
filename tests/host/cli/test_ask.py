"""`sensorium ask` beside a running host: the answer as it is written, then where it is from."""

from host.views import AnswerView


def test_the_answer_comes_with_the_sources_that_it_relies_on_and_their_times(cli, host):
    host.add("monday.mp3")
    host.add("other.mp3")
    ended = cli("ask", "which", "colour?")
    assert ended.code == 0
    assert "It is blue" in ended.out
    assert "\x1b" not in ended.out
    assert "[1] monday.mp3 00:12:31 we decided for blue" in ended.flat
    assert "other.mp3" not in ended.out


def test_a_question_can_be_about_one_file(cli, host):
    host.add("monday.mp3")
    host.add("other.mp3")
    found = AnswerView.model_validate_json(cli("ask", "which colour?", "--about", "other.mp3", "--json").out)
    assert (found.state, found.question, [one.origin for one in found.sources]) == (
        "answered",
        "which colour?",
        ["other.mp3"],
    )


def test_what_cannot_be_answered_says_why_and_ends_with_its_code(cli, host):
    nothing = cli("ask", "anything?")
    assert (nothing.code, nothing.flat) == (5, "Nothing. Wait.")
    host.add("monday.mp3")
    without = cli("ask", "no model?")
    assert without.code == 6
    assert "None." in without.flat
    assert "[1] monday.mp3 00:12:31" in without.flat


def test_an_error_of_the_host_is_told_and_an_empty_question_is_none(cli, host):
    assert "That cannot be asked. Ask something else." in cli("ask", "broken").flat_err
    assert cli("ask", " ").code == 2

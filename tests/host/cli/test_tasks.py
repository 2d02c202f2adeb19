"""Tasks are listed, and one is tried on a file, by a running host or without."""

from __future__ import annotations

import json


def test_the_tasks_of_a_running_host_are_listed(cli, host):
    told = cli("tasks")
    assert told.code == 0
    assert "summary llm What a text says." in told.flat


def test_a_task_is_put_to_a_file_with_what_is_set(cli, host, here):
    told = cli("tasks", "try", "summary", "note.txt", "--set", "language=German", "--json")
    (found,) = json.loads(told.out)
    assert found["data"] == {"text": f"summary of {here / 'note.txt'}", "values": {"language": "German"}}
    assert "summary of llm" in cli("tasks", "try", "summary", "note.txt").flat


def test_what_sets_nothing_is_refused(cli, host):
    told = cli("tasks", "try", "summary", "note.txt", "--set", "language")
    assert (told.code, "--set language=German" in told.flat_err) == (2, True)


def test_without_a_language_model_it_is_said_how_to_get_one(cli):
    assert "[plugins.llm]" in cli("tasks").flat
    told = cli("tasks", "try", "summary", "note.txt")
    assert (told.code, "No plugin in use performs a task 'summary'" in told.flat_err) == (5, True)

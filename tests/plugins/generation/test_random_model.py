"""A model of random weights runs through the code that real ones do: its context decides what is cut into parts."""

from __future__ import annotations

from plugins.generation.local import LocalModel
from plugins.generation.request import Request
from plugins.generation.running import Runner
from plugins.generation.tasks import tasks_in
from plugins.llm.settings import TASKS, LlmSettings
from tests.plugins.generation import random_model
from tests.worker_client import CPU

TEXT = "Ana and Bob meet on Monday. They decide to print the list and to open the hall."


def test_a_long_text_is_read_in_as_many_parts_as_the_context_needs(tmp_path):
    model = LocalModel(random_model.make(tmp_path, context=512), CPU, context=512)
    task = tasks_in(TASKS)["question"]
    parts = list(range(12))
    text = "\n\n".join(f"Paragraph {number}. {TEXT}" for number in parts)
    short = task.model_copy(update={"max_tokens": 20, "temperature": 0.7})
    data, generation = Runner(model, "random").run(short, {"text": text, "question": "Who?"})
    assert data.text
    assert generation.calls > generation.parts > 1
    model.close()


def test_what_a_model_holds_is_what_it_was_made_for(tmp_path):
    path = random_model.make(tmp_path, context=512)
    model = LocalModel(path, CPU, context=4096)
    assert model.context == 512
    assert model.generate(Request("a" * 50, max_tokens=5)).tokens <= 5
    assert LlmSettings(model=str(path)).entry.name == "random"
    model.close()

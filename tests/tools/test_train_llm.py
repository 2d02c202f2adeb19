"""The training script really makes a model that llama.cpp loads, from the wordings that the plugin uses."""

from __future__ import annotations

import hashlib
import re
from random import Random

import pytest
import torch

from plugins.generation.local import LocalModel
from plugins.generation.request import Request
from plugins.generation.tasks import tasks_in
from plugins.llm.settings import TASKS
from tests.worker_client import CPU
from tools.train_llm.__main__ import make_model
from tools.train_llm.evaluate import MODEL
from tools.train_llm.tokens import BEGIN, CHAT_TEMPLATE, chat
from tools.train_llm.training import Settings, prompt_of
from tools.train_llm.world import KINDS, case

CARD = (MODEL.parent / "MODEL_CARD.md").read_text()


def test_a_short_training_makes_a_model_that_answers_and_learns(tmp_path):
    torch.set_num_threads(1)
    model = LocalModel(make_model(tmp_path, Settings(steps=4, batch=4), texts=200), CPU, context=512)
    assert model.context == 512
    assert model.generate(Request("hello", max_tokens=8)).tokens <= 8
    one = case(Random(1))
    text = chat(prompt_of(one, tasks_in(TASKS)))
    tokens = model._llama.tokenize(text.encode(), add_bos=False, special=True)
    assert tokens[0] == BEGIN
    assert model._llama.detokenize(tokens, special=True).decode() == text
    assert model._llama.metadata["tokenizer.chat_template"] == CHAT_TEMPLATE
    model.close()


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_of_keys_is_in_training_and_in_the_test(kind):
    random = Random(3)
    answers = {split: {KINDS[kind](random, split).answer for _ in range(500)} for split in ("train", "test")}
    assert answers["train"].isdisjoint(answers["test"])


def test_the_bundled_file_is_the_one_that_was_measured():
    digest = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    assert (MODEL.parent / "SHA256SUMS").read_text().split() == [digest, MODEL.name]


def test_the_card_claims_what_is_required():
    for name, share in {"hierarchy exact": 0.93, "table name and set of fields exact": 0.93}.items():
        row = re.search(rf"^\| {re.escape(name)} \| (\d?\.\d+) \|", CARD, re.M)
        assert row, name
        assert float(row[1]) >= share

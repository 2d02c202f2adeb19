"""Byte-level BPE with single digits: what llama.cpp calls the tokenizer "gpt2" with the pre-tokenizer "smollm"."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = ("<unk>", "<s>", "<|im_start|>", "<|im_end|>", "<pad>")
UNKNOWN, BEGIN, START, END, PAD = range(5)
# Llama's own way of rendering adds no beginning, so the template does.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def learn_tokens(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of at most so many tokens."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIALS), min_frequency=2, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def chat(prompt: str, system: str = "") -> str:
    """A question as the template renders it."""
    first = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    return f"<s>{first}<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"

"""A GGUF model in this process, run by llama-cpp-python; with a projector it sees pictures as well."""

from __future__ import annotations

import base64
import ctypes
import json
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp import Llama
from llama_cpp.llama_grammar import LlamaGrammar

from hooks import Device, ModelUnavailable, OutOfMemory
from plugins.generation.request import Answer, ContextExceeded, GenerationFailed, OnText, Request
from plugins.generation.sanitise import sanitiser
from plugins.generation.schema import for_grammar

WARNING = 2
PICTURE_TOKENS = 256  # a first guess of what a picture takes of the context; the model itself refuses what is too much
FULL = ("out of memory", "failed to allocate", "unable to allocate", "cudamalloc", "not enough memory")
GRAMMARS = 64

_said: deque[str] = deque(maxlen=40)  # what the library logged last: it has no other words for why it failed


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _listen(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level >= WARNING:
        _said.append(text.decode("utf-8", "replace").strip())


class LocalModel:
    """One model in memory. Calls from several threads take turns: llama.cpp crashes otherwise."""

    def __init__(
        self, path: Path, device: Device, *, context: int = 4096, projector: Path | None = None, threads: int = 0
    ) -> None:
        """Raises ModelUnavailable for a file that is missing or no model, OutOfMemory where there is no room."""
        for file in (path, *([projector] if projector else ())):
            if not file.is_file():
                raise ModelUnavailable(f"The model file {file} is not there.", "Put it there, or name another.")
        llama_cpp.llama_log_set(_listen, ctypes.c_void_p(0))
        number = threads or device.threads
        handler = _handler(projector, device) if projector else None
        try:
            self._llama = Llama(
                str(path), n_ctx=context, n_threads=number, n_threads_batch=number, verbose=False, chat_handler=handler,
                n_gpu_layers=-1 if device.kind == "gpu" else 0, seed=0,
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            raise _not_loaded(path, error) from error
        trained = self._llama.metadata.get(f"{self._llama.metadata.get('general.architecture')}.context_length")
        self._context = min(self._llama.n_ctx(), int(trained or context))
        self._sees = projector is not None
        self._clean = sanitiser(_control_tokens(self._llama))
        self._takes_system = "system" in self._llama.metadata.get("tokenizer.chat_template", "system")
        self._grammars: dict[str, LlamaGrammar] = {}
        self._turn = threading.Lock()
        self._closed = False

    @property
    def context(self) -> int:
        return self._context

    def count_tokens(self, text: str) -> int:
        with self._turn:
            self._must_be_open()
            return len(self._llama.tokenize(text.encode("utf-8", "replace"), add_bos=False, special=False))

    def generate(self, request: Request, on_text: OnText | None = None) -> Answer:
        if request.pictures and not self._sees:
            raise GenerationFailed("This model does not see pictures.", "Choose one with a projector.")
        room = self._room_for(request)
        started = time.monotonic()
        with self._turn:
            self._must_be_open()
            chunks = self._chunks(request, min(request.max_tokens, room))
            text, finish = _collected(chunks, on_text)
            used = self._llama.n_tokens
        tokens = self.count_tokens(text)
        return Answer(text, tokens, max(0, used - tokens), time.monotonic() - started, finish)

    def close(self) -> None:
        with self._turn:
            if not self._closed:
                self._closed = True
                self._llama.close()

    def _must_be_open(self) -> None:
        if self._closed:
            raise GenerationFailed("The model was closed.")

    def _room_for(self, request: Request) -> int:
        """Tokens that are left for the answer. Raises ContextExceeded."""
        template = 16 + 4 * bool(request.system)
        asked = template + self.count_tokens(request.prompt) + self.count_tokens(request.system)
        asked += PICTURE_TOKENS * len(request.pictures)
        if asked + 8 > self._context:
            raise ContextExceeded(
                f"The request has about {asked} tokens and the model holds {self._context}.",
                "Send less, or choose a larger context.",
            )
        return self._context - asked

    def _chunks(self, request: Request, max_tokens: int) -> Any:
        grammar = None if request.schema is None else self._grammar(request.schema)
        try:
            yield from self._llama.create_chat_completion(
                self._messages(request), max_tokens=max_tokens, temperature=request.temperature, stream=True,
                stop=list(request.stop), grammar=grammar, repeat_penalty=1.0,
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            if any(word in f"{error} {' '.join(_said)}".lower() for word in FULL):
                raise OutOfMemory(f"llama.cpp had no room: {error}.") from error
            if "context window" in str(error):
                raise ContextExceeded(f"{error}.", "Send less, or choose a larger context.") from error
            raise GenerationFailed(f"llama.cpp gave up: {error}{_last_words()}.") from error

    def _messages(self, request: Request) -> Any:
        prompt, system = self._clean(request.prompt), self._clean(request.system)
        if system and not self._takes_system:  # the template of some models, as Gemma, refuses it
            prompt, system = f"{system}\n\n{prompt}", ""
        content: Any = prompt
        if request.pictures:
            urls = [
                f"data:{one.media_type};base64,{base64.b64encode(one.content).decode()}" for one in request.pictures
            ]
            shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
            content = [*shown, {"type": "text", "text": prompt}]
        return [*([{"role": "system", "content": system}] if system else ()), {"role": "user", "content": content}]

    def _grammar(self, schema: dict[str, Any]) -> LlamaGrammar:
        """The grammar of a schema, converted once. Raises GenerationFailed where that is not possible."""
        text = json.dumps(for_grammar(schema))
        if text not in self._grammars:
            if len(self._grammars) >= GRAMMARS:
                self._grammars.clear()
            try:
                self._grammars[text] = LlamaGrammar.from_json_schema(text, verbose=False)
            except Exception as error:
                raise GenerationFailed(f"The schema cannot be made a grammar: {error!r}.") from error
        return self._grammars[text]


def _handler(projector: Path, device: Device) -> Any:
    from llama_cpp.llama_chat_format import MTMDChatHandler

    return MTMDChatHandler(str(projector), verbose=False, use_gpu=device.kind == "gpu")


def _collected(chunks: Any, on_text: OnText | None) -> tuple[str, Any]:
    pieces, finish = [], "stop"
    for chunk in chunks:
        choice = chunk["choices"][0]
        piece = choice["delta"].get("content")
        if piece:
            pieces.append(piece)
            if on_text:
                on_text(piece)
        finish = choice["finish_reason"] or finish
    return "".join(pieces), "length" if finish == "length" else "stop"


def _not_loaded(path: Path, error: Exception) -> Exception:
    words = _last_words()
    if any(word in words.lower() for word in FULL):
        return OutOfMemory(f"There is no room for {path.name}{words}.")
    hint = "It must be a whole GGUF file of a kind that llama.cpp knows."
    return ModelUnavailable(f"{path} cannot be loaded: {error}{words}.", hint)


def _last_words() -> str:
    said = [line for line in _said if (line and "error" in line.lower()) or "fail" in line.lower()]
    return f" ({said[-1][:300]})" if said else ""


def _control_tokens(llama: Llama) -> list[str]:
    """The texts that the tokenizer takes for control marks."""
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    control = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    marks = (
        llama_cpp.llama_vocab_get_text(vocabulary, token)
        for token in range(llama.n_vocab())
        if llama_cpp.llama_vocab_get_attr(vocabulary, token) & control
    )
    return [mark.decode("utf-8", "replace") for mark in marks if mark]

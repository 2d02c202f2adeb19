"""A model behind any server that speaks the OpenAI chat protocol: vLLM, llama-server, Ollama, llama-cpp-python's own.

    asked → answered
    no connection, 429, 5xx, cut off → waits (longer each time, or as the server says) → asked again
    refuses the form of the schema → the next, remembered: json_schema → json_object → words in the prompt

Nothing of a server is trusted: an answer has a limit in bytes, pieces and seconds. Many threads may ask at a time;
`parallel` of them are let through.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from plugins.generation.request import Answer, ContextExceeded, Finish, GenerationFailed, OnText, Request, ServerFailed

ATTEMPTS = 4
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
LARGEST = 4 * 1024 * 1024  # bytes of one answer, with all that is around it
PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
FORMS = ("json_schema", "json_object", "words")
BYTES_A_TOKEN = 3  # few languages have fewer; for servers that do not count
CONNECT = 10.0
SHOWN = 300


class _Again(Exception):
    """It may work the next time: why, and after how many seconds the server wants to be asked."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _WrongForm(Exception):
    """The server does not take the form in which the schema was sent."""


class RemoteModel:
    """A model of a server. `url` ends in "/v1"; `timeout`: seconds for one answer, from first try to last byte."""

    def __init__(
        self, url: str, model: str, *, key: str = "", context: int = 4096, timeout: float = 300.0,
        structured: bool = True, parallel: int = 4, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=parallel + 1)
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers=headers,
            limits=limits,
            timeout=httpx.Timeout(timeout, connect=CONNECT),
        )
        self._url = url
        self._model = model
        self._context = context
        self._timeout = timeout
        self._form = 0 if structured else len(FORMS) - 1
        self._turns = threading.BoundedSemaphore(parallel)
        self._sleep = sleep

    @property
    def context(self) -> int:
        return self._context

    def count_tokens(self, text: str) -> int:
        """An estimate: servers have no common way to count."""
        return -(-len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN)

    def close(self) -> None:
        self._client.close()

    def generate(self, request: Request, on_text: OnText | None = None) -> Answer:
        with self._turns:
            started = time.monotonic()
            while True:
                try:
                    text, finish, usage = self._with_patience(request, on_text, started)
                except _WrongForm as error:
                    if self._form + 1 >= len(FORMS):
                        raise GenerationFailed(f"{self._url} refused the request: {error}.") from error
                    self._form += 1
                    continue
                tokens = _count(usage.get("completion_tokens"), self.count_tokens(text))
                asked = _count(usage.get("prompt_tokens"), self.count_tokens(request.prompt + request.system))
                return Answer(text, tokens, asked, time.monotonic() - started, finish)

    # -- again and again ---------------------------------------------------------------------------------------------

    def _with_patience(self, request: Request, on_text: OnText | None, started: float) -> tuple[str, Finish, Any]:
        wait = FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            said = _Once(on_text)
            try:
                return self._ask(request, said, started)
            except (_Again, httpx.TransportError) as error:
                reason = str(error) or type(error).__name__
                wanted = max(getattr(error, "wait", 0.0), wait * random.uniform(0.8, 1.2))
                late = time.monotonic() - started + wanted > self._timeout
                if attempt == ATTEMPTS or late or said.began:
                    tries = "once" if attempt == 1 else f"{attempt} times"
                    raise ServerFailed(
                        f"The server {self._url} was asked {tries} and did not answer: {reason}.",
                        "See whether it runs, and raise `timeout` if it is only slow.",
                    ) from error
            self._sleep(min(LONGEST_WAIT, wanted))
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def _ask(self, request: Request, said: _Once, started: float) -> tuple[str, Finish, Any]:
        body = self._body(request, stream=said.wanted)
        with self._client.stream("POST", "chat/completions", json=body) as response:
            chunks = self._limited(response.iter_bytes(), started)
            if response.status_code != 200:
                raise self._refusal(response, b"".join(_first(chunks, 65536)), has_schema=request.schema is not None)
            if "text/event-stream" in response.headers.get("content-type", ""):
                return _streamed(_lines(chunks), said, most=4 * request.max_tokens + 64)
            return _whole(b"".join(chunks), said)

    def _limited(self, chunks: Iterator[bytes], started: float) -> Iterator[bytes]:
        """The same, as long as it is neither too much nor too late."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > LARGEST:
                raise ServerFailed(f"The answer of {self._url} is larger than {LARGEST >> 20} MB.", "It was cut off.")
            if time.monotonic() - started > self._timeout:
                raise ServerFailed(f"The answer of {self._url} took more than {self._timeout:g} s.", "Raise `timeout`.")
            yield chunk

    def _refusal(self, response: httpx.Response, content: bytes, *, has_schema: bool) -> Exception:
        status, text = response.status_code, content.decode("utf-8", "replace")
        said = f"HTTP {status}: {' '.join(text.split())[:SHOWN]}"
        refused_form = status in (400, 415, 422, 501) or "response_format" in text  # some answer 500 to it
        if refused_form and has_schema and self._form + 1 < len(FORMS) and "context" not in text:
            return _WrongForm(said)
        if status in PASSING and "exceed context window" not in text:
            return _Again(said, _seconds(response.headers.get("retry-after")))
        if "context" in text and any(word in text for word in ("exceed", "length", "too long")):
            return ContextExceeded(
                f"The server {self._url} says that the request is too long ({said}).", "Set `context`."
            )
        hints = {401: "Set `api_key_variable`.", 403: "Set `api_key_variable`.", 404: "Check `url` and `model`."}
        return GenerationFailed(f"The server {self._url} refused the request ({said}).", hints.get(status, ""))

    # -- a request ---------------------------------------------------------------------------------------------------

    def _body(self, request: Request, *, stream: bool) -> dict[str, Any]:
        form = FORMS[self._form]
        prompt = request.prompt
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if stream:
            body["stream"] = True
        if request.schema is not None and form == "json_schema":
            described = {"name": "answer", "strict": True, "schema": request.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        elif request.schema is not None and form == "json_object":
            body["response_format"] = {"type": "json_object", "schema": request.schema}
        if request.schema is not None and form == "words":
            prompt += f"\n\nAnswer with JSON alone that keeps to this schema:\n{json.dumps(request.schema)}"
        content: Any = prompt
        if request.pictures:
            shown = [{"type": "image_url", "image_url": {"url": _data_url(one)}} for one in request.pictures]
            content = [*shown, {"type": "text", "text": prompt}]
        system = [{"role": "system", "content": request.system}] if request.system else []
        return {**body, "messages": [*system, {"role": "user", "content": content}]}


class _Once:
    """Hands pieces on; once it has, the request cannot be made again, or they would be heard twice."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self.wanted = on_text is not None
        self.began = False

    def __call__(self, piece: str) -> None:
        if self._on_text and piece:
            self.began = True
            self._on_text(piece)


def _whole(content: bytes, said: _Once) -> tuple[str, Finish, Any]:
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = choice["message"]["content"] or ""
        if not isinstance(text, str):
            raise TypeError("its content is no text")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise _Again(f"what it sent is no answer ({type(error).__name__}: {str(error)[:SHOWN]})") from error
    said(text)
    return text, "length" if choice.get("finish_reason") == "length" else "stop", body.get("usage") or {}


def _streamed(lines: Iterator[bytes], said: _Once, most: int) -> tuple[str, Finish, Any]:
    """Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), one piece of text each."""
    pieces: list[str] = []
    finish: Finish = "stop"
    usage: Any = {}
    for line in lines:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return "".join(pieces), finish, usage
        piece, reason, counted = _piece(data)
        usage = counted or usage
        if piece:
            pieces.append(piece)
            said(piece)
        if reason == "length":
            finish = "length"
        if len(pieces) > most:
            raise ServerFailed("The server's answer does not end.", "It was cut off; see which model it runs.")
        if reason:
            return "".join(pieces), finish, usage
    raise _Again("its stream ended before the answer did")


def _piece(data: bytes) -> tuple[str, Any, Any]:
    try:
        body = json.loads(data)
        choice = (body.get("choices") or [{}])[0]
        piece = (choice.get("delta") or {}).get("content") or ""
        return str(piece), choice.get("finish_reason"), body.get("usage")
    except (ValueError, AttributeError, IndexError, RecursionError) as error:
        raise _Again(f"a piece of its stream is no JSON ({str(error)[:SHOWN]})") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    yield rest


def _first(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:size]
        size -= len(chunk)
        if size <= 0:
            return


def _seconds(header: str | None) -> float:
    """What `Retry-After` says in seconds; dates are not read."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(header or 0)))
    except ValueError:
        return 0.0


def _count(said: Any, otherwise: int) -> int:
    return said if isinstance(said, int) and said >= 0 else otherwise


def _data_url(picture: Any) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"

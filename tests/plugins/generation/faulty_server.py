"""A server with faults: each answer is what a test put in, in order; the last one is repeated."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class FaultyServer:
    """Remembers what it was asked; `most` is how many asked at a time."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.asked: list[dict[str, Any]] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self._lock:
            self.asked.append(body)
            self._now += 1
            self.most = max(self.most, self._now)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        with contextlib.suppress(ConnectionError):
            reply(handler, body)
        with self._lock:
            self._now -= 1


@contextlib.contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    ours = FaultyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ours.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    ours.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield ours
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content-type": "application/json", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def completion(text: str, finish: str = "stop") -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).encode()


def says(text: str, finish: str = "stop") -> Reply:
    return lambda handler, _: send(handler, completion(text, finish))


def refuses(status: int, text: str = "no", **headers: str) -> Reply:
    return lambda handler, _: send(handler, text.encode(), status, **headers)


def sends(content: bytes, **headers: str) -> Reply:
    return lambda handler, _: send(handler, content, **headers)


def hangs_up(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.connection.close()


def streams(*pieces: str, end: bool = True) -> Reply:
    def reply(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
        events = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + (["data: [DONE]\n\n"] if end else [])
        send(handler, "".join(lines).encode(), content_type="text/event-stream")

    return reply


def streams_for_ever(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    send(handler, b"", content_type="text/event-stream")
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": "la "}}]}).encode() + b"\n\n"
    while True:
        handler.wfile.write(event)


def drips_for_ever(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    send(handler, b"", content_type="text/event-stream")
    while True:
        handler.wfile.write(b": wait\n")
        time.sleep(0.02)

"""A web server on this machine is told, once it is allowed to be."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import sensorium_webhook
from sensorium_webhook import Connection, Settings

SECRET = b"a secret of at least 24 bytes"


class Receiver(ThreadingHTTPServer):
    """Answers with the statuses in its list, then with 204; keeps what it was told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.told, self.elsewhere = [], [], ""
        self.url = f"http://127.0.0.1:{self.server_port}/hook?a=1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.append((self.path, dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("location", self.server.elsewhere)
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.fixture
def host(host, monkeypatch):
    monkeypatch.setenv("SENSORIUM_WEBHOOK_SECRET", f"whsec_{base64.b64encode(SECRET).decode()}")
    return host


def is_signed(head, body):
    head = {name.lower(): value for name, value in head.items()}
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    return head["webhook-signature"] == f"v1,{expected}"


def why(host, name):
    return " ".join(host.command("why", f"inbox/{name}").stdout.split())


def test_each_file_is_told_once_signed_later_with_the_same_id_and_not_elsewhere(host, events, receiver):
    host.use("webhook", url=receiver.url, allow=["127.0.0.1/32"])
    receiver.statuses = [503]
    host.drop(events.text(), "a.txt")
    host.run()
    assert "answered 503" in why(host, "a.txt")
    while len(receiver.told) < 2:  # it is owed over a restart, and tried again when its pause is over
        host.run()
    (path, head, body), (_, again, _) = receiver.told
    assert path == "/hook?a=1"
    assert is_signed(head, body)
    assert again["webhook-id"] == head["webhook-id"]
    assert json.loads(body)["event"]["name"] == "a.txt"
    assert str(host.folder / "data") not in body.decode()

    receiver.statuses, receiver.elsewhere = [307, 410], f"http://127.0.0.2:{receiver.server_port}/"
    host.drop(events.text(content=b"a redirect"), "b.txt")
    host.run()
    assert "127.0.0.2 is an internal address" in why(host, "b.txt")
    while receiver.statuses:
        host.run()
    assert "given up" in why(host, "b.txt")
    assert len(receiver.told) == 4


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "[::1]", "[fe80::1]", "[::ffff:10.0.0.1]", "0.0.0.0"],
)
def test_internal_addresses_are_refused_also_behind_a_name(name, monkeypatch):
    with pytest.raises(PermissionError, match="is an internal address"):
        Connection(urlsplit(f"http://{name}/"), Settings(url="http://x"))
    answer = socket.getaddrinfo(name.strip("[]"), 80, type=socket.SOCK_STREAM)
    monkeypatch.setattr(sensorium_webhook.socket, "getaddrinfo", lambda *asked, **more: answer)
    with pytest.raises(PermissionError, match=r"innocent\.example is an internal address"):
        Connection(urlsplit("https://innocent.example/"), Settings(url="https://innocent.example/"))


def test_what_is_encrypted_is_not_told_on_in_plain_text():
    with pytest.raises(PermissionError, match="is not encrypted"):
        Connection(urlsplit("http://example.org/"), Settings(url="https://example.org/"))

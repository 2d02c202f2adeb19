"""Tells a web server of everything that is finished, signed as https://www.standardwebhooks.com describes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import os
import socket
import ssl
import time
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from hooks import BadInput, Delivery, ModelUnavailable, hookimpl

api = ">=1,<2"
optional = True  # off as long as nobody says where to


class Settings(BaseModel):
    """What may be set in [plugins.webhook]. The secret comes from SENSORIUM_WEBHOOK_SECRET, as whsec_ and base64."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^https?://", description="Where to.")
    allow: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = Field(
        (), description='Networks that are not of the internet and may be told, as "192.168.1.0/24".'
    )


class Connection(http.client.HTTPSConnection):
    """A connection to the very address that was checked: a name may have another one a moment later."""

    def __init__(self, url: SplitResult, settings: Settings) -> None:
        self.plain = url.scheme == "http"
        if url.scheme != "https" and not (self.plain and settings.url.startswith("http:")):
            raise PermissionError(f"{url.geturl()} is not encrypted, as the first address is")
        super().__init__(url.hostname or "", url.port or (80 if self.plain else 443), timeout=20)
        found = [one[4] for one in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)]
        self.address = next((str(one[0]) for one in found if is_allowed(str(one[0]), settings)), "")
        if not self.address:
            raise PermissionError(f"{self.host} is an internal address; name its network in `allow` if you mean it")

    def connect(self) -> None:
        self.sock = socket.create_connection((self.address, self.port), self.timeout)
        if not self.plain:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def is_allowed(text: str, settings: Settings) -> bool:
    """Whether an address is of the internet, or of a network that is named in the settings."""
    address = ipaddress.ip_address(text.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in settings.allow) or (address.is_global and not address.is_multicast)


@hookimpl
def settings_class() -> type[BaseModel]:
    return Settings


@hookimpl
def load() -> bytes:
    if not (secret := os.environ.get("SENSORIUM_WEBHOOK_SECRET")):
        raise ModelUnavailable("There is no secret to sign with.", "Set SENSORIUM_WEBHOOK_SECRET for the host.")
    return base64.b64decode(secret.removeprefix("whsec_"))


@hookimpl
def on_result(delivery: Delivery, model: bytes, settings: Settings) -> None:
    body = delivery.model_dump_json(exclude={"event": {"path"}, "found": {"__all__": {"artifact"}}}).encode()
    now, url, status = str(int(time.time())), settings.url, 0
    signed = hmac.digest(model, f"{delivery.id}.{now}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(signed).decode()}"
    head = {"webhook-id": delivery.id, "webhook-timestamp": now, "webhook-signature": signature}
    for _ in range(4):  # a redirect may lead anywhere: it is looked at as the first address was
        parts = urlsplit(url)
        with contextlib.closing(Connection(parts, settings)) as connection:
            path = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            connection.request("POST", path, body, {**head, "content-type": "application/json"})
            answer = connection.getresponse()
            status, url = answer.status, urljoin(url, answer.getheader("location") or "")
        if status not in (307, 308):
            break
    if status == 410:
        raise BadInput("The receiver wants to hear no more of this (410 Gone).")
    if not 200 <= status < 300:
        raise ConnectionError(f"{parts.netloc} answered {status}")

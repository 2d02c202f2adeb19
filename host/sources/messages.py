"""A message that arrived: what of it is the content, and what that is. The topic is data, and never a path."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import mimetypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from host.config import Subscription
from host.identify import HEAD, Identity, extension_of
from host.intake import Identify, Refused, Taken, Unsettled
from host.library import Library
from host.mqtt.client import Message
from host.steps import Observe
from host.topics import check_topic

SOURCE = "mqtt"
RESTS_IN_JOURNAL = 32 * 1024  # bytes: larger ones cost more written twice (WAL, checkpoint) than a file does
ENVELOPE_SHARE = 1.4  # base64 takes four bytes for three, and there is JSON around it
ENVELOPE_KEYS = {"media", "type", "meta"}
EXAMPLE = '{"media": BASE64, "type": "image/jpeg", "meta": {}}'


def payload_limit(subscription: Subscription, limit: int) -> int:
    """Bytes that a payload may have whose content may have `limit` bytes."""
    return int(limit * ENVELOPE_SHARE) if subscription.envelope else limit


class Unreadable(Exception):
    """A message that has no content that can be taken in; the text says why."""


@dataclass(frozen=True, slots=True)
class MessageArrival:
    """A message on a topic that a subscription matches; `levels` are the named levels of its topic, `limit` bytes."""

    message: Message
    subscription: Subscription
    levels: Mapping[str, str]
    limit: int
    revision: str
    origin: str
    source: str = SOURCE
    changed: int = 0

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.subscription.tags, *filter(None, self.levels.values()))))

    def take(self, library: Library, identify: Identify, observe: Observe) -> Taken | Refused | Unsettled:
        """Find the content, tell what it is, and store it."""
        observe("claimed")
        try:
            self._check()
            content, name, meta = self._unpacked()
            if not content:
                raise Unreadable("It is empty. Send it again with its content.")
            identity = identify(content[:HEAD], name)
            if identity is None:
                raise Unreadable(
                    "Its content is of no known type. `sensorium plugins` lists the plugins that add types."
                )
        except Unreadable as error:
            return Refused(str(error))
        metadata = {"topic": self.origin, **self.levels, **({"meta": meta} if meta else {})}
        taken = _resting if len(content) <= RESTS_IN_JOURNAL else _stored
        answer = taken(content, identity, library, metadata)
        observe("hashed")
        return answer

    def _check(self) -> None:
        try:
            check_topic(self.message.topic)
        except ValueError as error:
            raise Unreadable(f"Its topic cannot be used: {error}.") from error
        expires = self.message.expires
        if expires is not None and time.time() >= expires:
            raise Unreadable("It expired before it was taken in. Give it a longer message expiry.")
        limit = payload_limit(self.subscription, self.limit)
        size = self.message.left_out or len(self.message.payload)
        if size > limit:
            raise _too_large(size, limit)

    def _unpacked(self) -> tuple[bytes, str, Any]:
        """The content, a name for it whose extension helps to tell kinds of text apart, and what was said of it."""
        if not self.subscription.envelope:
            return self.message.payload, self.message.topic, None
        body = _envelope(self.message.payload)
        kind = body.get("type")
        if kind is not None and not (isinstance(kind, str) and kind.count("/") == 1):
            raise Unreadable(f'`type` in the envelope is not a media type like "image/jpeg": {kind!r:.100}.')
        extension = mimetypes.guess_extension(kind) if kind else ""
        if extension is None:
            raise Unreadable(
                f"`type` in the envelope is no known media type: {kind!r:.100}. Leave it out: the content tells."
            )
        meta = body.get("meta", {})
        if not isinstance(meta, dict):
            raise Unreadable("`meta` in the envelope is not a JSON object.")
        content = _decoded(body["media"])
        if len(content) > self.limit:
            raise _too_large(len(content), self.limit)
        return content, f"content{extension}", meta


def _stored(content: bytes, identity: Identity, library: Library, metadata: dict[str, Any]) -> Taken:
    stored = library.add_bytes(content, _extension(identity[1]))
    location = library.location_of(stored.path)
    return Taken(stored.sha256, stored.size, *identity, location, "", stored.path, metadata)


def _resting(content: bytes, identity: Identity, library: Library, metadata: dict[str, Any]) -> Taken:
    """Not a file yet: the journal's commit carries the content too."""
    sha256 = hashlib.sha256(content).hexdigest()
    location = library.location_for(sha256, _extension(identity[1]))
    return Taken(sha256, len(content), *identity, location, "", None, metadata, content)


@functools.cache
def _extension(media_type: str) -> str:
    return extension_of(f"x{mimetypes.guess_extension(media_type) or ''}")


def _too_large(size: int, limit: int) -> Unreadable:
    return Unreadable(
        f"It has {size} bytes, more than the {limit} that are taken. Send it smaller, or raise max_size_mb of the "
        "subscription (and the broker's own limit)."
    )


def _envelope(payload: bytes) -> dict[str, Any]:
    try:
        body = json.loads(payload)
    except RecursionError:
        raise Unreadable(f"It is not an envelope: JSON nested too deep. Send {EXAMPLE}.") from None
    except ValueError as error:
        raise Unreadable(f"It is not an envelope: no JSON ({error}). Send {EXAMPLE}.") from None
    if not isinstance(body, dict) or "media" not in body:
        raise Unreadable(f"It is not an envelope: a JSON object with `media`. Send {EXAMPLE}.")
    if unknown := sorted(body.keys() - ENVELOPE_KEYS):
        raise Unreadable(f"The envelope has unknown keys: {', '.join(unknown)[:100]}. Put your own ones into `meta`.")
    return body


def _decoded(media: Any) -> bytes:
    if not isinstance(media, str):
        raise Unreadable("`media` in the envelope is not a text in base64.")
    try:
        return base64.b64decode(media, validate=True)
    except ValueError as error:
        raise Unreadable(f"`media` in the envelope is not base64: {error}.") from None

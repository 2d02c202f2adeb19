"""Events for tests, as the host would make them."""

from __future__ import annotations

import hashlib
import mimetypes
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from hooks.events import CLASSES, KINDS, Audio, Data, Document, Event, Image, Kind, Text, Video
from hooks.testing import samples

Made = TypeVar("Made", bound=Event)
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
_DATA_TYPES = ("application/json", "application/jsonl", "application/yaml", "text/csv", "text/tab-separated-values")


def kind_of(path: Path) -> tuple[Kind, str]:
    """Kind and media type by the name alone (the host looks at the content). Raises ValueError for unknown names."""
    media_type = mimetypes.guess_type(path.name)[0] or ""
    family = media_type.partition("/")[0]
    if media_type in _DATA_TYPES:
        return "data", media_type
    if media_type.startswith("application/"):
        return "document", media_type
    for kind in KINDS:
        if kind == family:
            return kind, media_type
    raise ValueError(f"What {path.name} is cannot be told by its name: say kind=... and media_type=...")


class EventFactory:
    """Makes events of files that really lie in its folder: `events.image()`, `events.audio(content=...)`.

    Without `content` it is a small valid file of that kind (`hooks.testing.samples`). Further keywords are fields of
    the event, as `tags`, `metadata`, `source`, `parent`, `moment`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def image(self, name: str = "", content: bytes | None = None, **fields: Any) -> Image:
        """A picture: a red square on white, PNG."""
        return self._typed(Image, "image", name, content, fields)

    def audio(self, name: str = "", content: bytes | None = None, **fields: Any) -> Audio:
        """A recording: a second of a tone, WAV."""
        return self._typed(Audio, "audio", name, content, fields)

    def video(self, name: str = "", content: bytes | None = None, **fields: Any) -> Video:
        """A film: a second of a moving square without sound, AVI."""
        return self._typed(Video, "video", name, content, fields)

    def document(self, name: str = "", content: bytes | None = None, **fields: Any) -> Document:
        """A document: one page with three sentences, PDF."""
        return self._typed(Document, "document", name, content, fields)

    def text(self, name: str = "", content: bytes | None = None, **fields: Any) -> Text:
        """A text: three sentences, UTF-8."""
        return self._typed(Text, "text", name, content, fields)

    def data(self, name: str = "", content: bytes | None = None, **fields: Any) -> Data:
        """Data: a list of readings, JSON."""
        return self._typed(Data, "data", name, content, fields)

    def make(self, kind: Kind, name: str = "", content: bytes | None = None, **fields: Any) -> Event:
        """An event of a kind that is a value; of one that plugins bring with name, content and `media_type`."""
        if kind not in KINDS:  # of a kind that plugins bring nobody here has a sample
            return event_of(samples.write(self.folder, name, content or b""), kind=kind, **fields)
        usual_name, media_type, usual = samples.sample(kind)
        path = samples.write(self.folder, name or usual_name, usual if content is None else content)
        return event_of(path, kind=kind, **{"media_type": media_type, **fields})

    def of_file(self, path: str | Path, **fields: Any) -> Event:
        """An event of a file that is there, wherever it lies."""
        return event_of(Path(path), **fields)

    def _typed(self, cls: type[Made], kind: Kind, name: str, content: bytes | None, fields: dict[str, Any]) -> Made:
        event = self.make(kind, name, content, **fields)
        assert isinstance(event, cls)
        return event


def event_of(path: Path, kind: Kind | None = None, **fields: Any) -> Event:
    """An event of a file, with kind and media type by its name where they are not given."""
    content = path.read_bytes()
    if kind is None or "media_type" not in fields:
        guessed, media_type = kind_of(path)
        kind = kind or guessed
        fields.setdefault("media_type", media_type)
    sha256 = hashlib.sha256(content).hexdigest()
    known = {
        "kind": kind,
        "id": hashlib.sha256(f"{kind}\0{sha256}".encode()).hexdigest()[:20],
        "sha256": sha256,
        "size": len(content),
        "path": path.absolute(),
        "name": path.name,
        "source": "inbox",
        "origin": path.name,
        "created": CREATED,
    }
    return CLASSES.get(kind, Event).model_validate({**known, **fields})

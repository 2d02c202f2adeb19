"""What a plugin that brings things in says to the host, and what it may ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Source(BaseModel):
    """A place that a plugin reads: a mailbox, a feed.

    `name` tells several of one plugin apart; the host calls a source PLUGIN, or PLUGIN.NAME. `every`: seconds from the
    end of one reading to the next. `time_limit`: seconds that may pass without an arrival or a question before the
    process counts as hung, and is ended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9_-]{0,31})?$")
    every: float = Field(default=60.0, ge=0.1, allow_inf_nan=False)
    time_limit: float = Field(default=300.0, gt=0, allow_inf_nan=False)


class Arrival(BaseModel):
    """A file for the host to take in; `path` lies in the scratch folder, and the host removes it then.

    `origin` is where it comes from inside its source, the same each time: "INBOX/4711/photo.jpg"; its last part is the
    name that people see. `revision` tells contents of one origin apart that are to be taken again although they may be
    equal; most sources need none. The extension of `path` helps to tell what kind of text the content is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    origin: str
    revision: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


@dataclass(frozen=True)
class SourceContext:
    """What a source may use and ask: `scratch` is a folder of its plugin's own, which outlives the process."""

    scratch: Path
    ask: Callable[[str, str], bool]

    def is_taken(self, origin: str, revision: str = "") -> bool:
        """Whether something of this origin and revision was taken in, or refused, before: the journal knows."""
        return self.ask(origin, revision)

"""The families and voices that are known: data of `catalog.toml`, cheap to read, so that the host can ask as well."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

HERE = Path(__file__).parent


class Voice(BaseModel):
    """A voice or model of a family; `languages` are its own, `repository` where it is published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = ""
    languages: tuple[str, ...] = ()
    repository: str = ""
    architecture: str = ""
    sample_rate: int = 0
    memory_mb: int = 0
    licence: str = ""


class Family(BaseModel):
    """A family of voices: what it costs, what it can do, and on which terms.

    `memory_mb` is of the whole worker process; `stated` where nobody measured it here. `speed`: against real time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    plugin: str
    memory_mb: int
    stated: bool = False
    speed: Literal["very fast", "fast", "real time", "slow", "very slow"]
    languages: tuple[str, ...]
    cloning: bool = False
    emotions: bool = False
    licence: str
    voices: tuple[Voice, ...] = ()


@functools.cache
def catalog() -> dict[str, Family]:
    """The families by their names."""
    tables = tomllib.loads((HERE / "catalog.toml").read_text(encoding="utf-8"))
    return {name: Family.model_validate(table) for name, table in tables.items()}

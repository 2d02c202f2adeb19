"""Which model the settings mean, as data of a family's catalog; cheap to read, so that the host can ask as well."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from hooks import KnownModel
from plugins import hub

OVERHEAD_MB = 350  # of the process, beside weights and cache
REMOTE = "remote"


class Weights(BaseModel):
    """One quantization of a model: a file of the repository and what it weighs, in MB of 10^6 bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    size_mb: int = Field(gt=0)


class Entry(BaseModel):
    """A model in GGUF: `parameters` and `active` (of a mixture) in billions, `context` in tokens.

    `cache_mb`: what 1,000 tokens of context take at 16 bit, from the published shape of the model. `stated_mb`: what
    others say that it needs. `good_for`: marks from 1 to 100 by content, ours. `brief`: it knows the brief wordings of
    tasks alone. One without weights is for servers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    parameters: float
    active: float = 0.0
    context: int
    cache_mb: float = 0.0
    stated_mb: tuple[int, ...] = ()
    licence: str
    good_for: dict[str, int] = Field(default_factory=dict)
    repository: str = ""
    folder: str = ""
    quantizations: dict[str, Weights] = Field(default_factory=dict)
    brief: bool = False
    speed: float = 0.0

    @property
    def default(self) -> str:
        """The quantization that is taken where none is named: the first in the catalog; "" for a server's model."""
        return next(iter(self.quantizations), "")

    def memory_mb(self, quantization: str, context: int) -> int:
        """A first guess of the whole process with this context, in MB of 2^20 bytes."""
        weights = self.quantizations[quantization].size_mb * 1e6 / 2**20
        return round(1.02 * weights + self.cache_mb * min(context, self.context) / 1000 + OVERHEAD_MB)

    def known(self, key: str, context: int) -> list[KnownModel]:
        """What people choose from, one for each quantization; `key` is the setting that names the model."""
        facts = self.model_dump(include={"name", "about", "parameters", "active", "context", "licence", "good_for"})
        kept = [
            KnownModel(
                **facts, quantization=name, memory_mb=self.memory_mb(name, context), size_mb=weights.size_mb,
                settings={key: self.name, **({} if name == self.default else {"quantization": name})},
            )
            for name, weights in self.quantizations.items()
        ]  # fmt: skip
        return kept or [KnownModel(**facts, settings={key: self.name, "backend": REMOTE})]

    def local_path(self, quantization: str, here: Path) -> Path | None:
        """The file, if it is on this machine."""
        file = self.quantizations[quantization].file
        if self.repository:
            return hub.cached(self.repository, file)
        path = here / self.folder / file
        return path if path.is_file() else None

    def fetched_path(self, quantization: str, here: Path) -> Path:
        """The file, fetched where need be; ModelUnavailable says how to bring it here."""
        file = self.quantizations[quantization].file
        if self.repository:
            return hub.fetched(self.repository, file, 'model = "/path/of/the/file.gguf"')
        return here / self.folder / file


def read_catalog(path: Path, family: str) -> dict[str, Entry]:
    """The models of a catalog by the names that settings use."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))[family]
    return {name: Entry.model_validate({"name": name, **table}) for name, table in tables.items()}


def of_file(model: str, context: int) -> Entry:
    """The entry of a file that nobody lists."""
    path = Path(model).expanduser().absolute()
    size = max(1, round(path.stat().st_size / 1e6)) if path.is_file() else 4000
    return Entry(
        name=path.stem, about="A file of one's own.", parameters=size / 600, context=max(context, 512), licence="",
        cache_mb=60 if size > 500 else 1, folder=str(path.parent),
        quantizations={"file": Weights(file=path.name, size_mb=size)},
    )  # fmt: skip

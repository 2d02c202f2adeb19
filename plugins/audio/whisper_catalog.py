"""Which Whisper the settings mean: data of `catalog.toml`, cheap to read, so that the host can ask as well."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from plugins import hub

HERE = Path(__file__).parent
WEIGHTS = "model.bin"
FILES = ("config.json", WEIGHTS, "tokenizer.json")
PATTERNS = (*FILES, "preprocessor_config.json", "vocabulary.*")


class Entry(BaseModel):
    """A Whisper that CTranslate2 runs: where its files are, what it costs and what it can do.

    The files lie in `folder`, or in `repository` of the hub. `languages` are codes of ISO 639-1, empty for many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str = ""
    folder: str = ""
    repository: str = ""
    size_mb: int = 0
    memory_mb: int = 3000
    languages: tuple[str, ...] = ()
    translates: bool = False
    licence: str = "MIT"
    beam: int = 5
    batch: int = 8
    together: float = 30.0
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    @property
    def place(self) -> Path:
        """Where its folder is meant to be, unless it is in a repository."""
        return HERE / self.folder

    @property
    def missing(self) -> list[str]:
        """The files that its folder lacks."""
        return [file for file in FILES if not (self.place / file).is_file()]

    @property
    def local_folder(self) -> Path | None:
        """The folder with its files, if they are on this machine."""
        if self.repository:
            return hub.cached_folder(self.repository, FILES)
        return None if self.missing else self.place


@functools.cache
def catalog() -> dict[str, Entry]:
    """The known models, by the names that settings use."""
    tables = tomllib.loads((HERE / "catalog.toml").read_text(encoding="utf-8"))
    return {name: Entry.model_validate({"name": name, **table}) for name, table in tables["whisper"].items()}


def chosen(model: str) -> Entry | None:
    """The entry that a setting means: of the catalog, or of a folder; None for a name that nobody knows."""
    if "/" in model:
        folder = Path(model).expanduser().absolute()
        return Entry(name=folder.name, folder=str(folder), translates=True)
    return catalog().get(model)

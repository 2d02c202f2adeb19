"""Which weights the settings of CLIP mean: data of `catalog.toml`, cheap to read, so that the host can ask as well."""

from __future__ import annotations

import functools
import itertools
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from plugins import hub

HERE = Path(__file__).parent
WEIGHTS = "open_clip_model.safetensors"
UNKNOWN_MODEL_MB = 3000


class Entry(BaseModel):
    """A CLIP: its architecture in open_clip, its weights and what they cost, the names that it knows.

    `pretrained` says which weights, "" for random ones. Their `file` lies in `folder`, together with what else belongs
    to the model, or in `repository` of the hub; without `file`, `pretrained` is a tag that open_clip has to look up.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    architecture: str
    pretrained: str = ""
    folder: str = ""
    repository: str = ""
    file: str = WEIGHTS
    size_mb: int = 0
    memory_mb: int = UNKNOWN_MODEL_MB
    dimensions: int = 0
    licence: str = ""
    template: str = "a photo of {}"
    choices: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        """Architecture and weights in a word."""
        return f"{self.architecture}/{self.pretrained or 'random'}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Each combination of one word from each list."""
        return tuple(" ".join(words) for words in itertools.product(*self.choices) if words)

    @property
    def path(self) -> Path:
        """Where `file` is meant to be, unless it is in a repository."""
        return HERE / self.folder / self.file

    @property
    def local_file(self) -> Path | None:
        """The file of the weights, if they are known and on this machine."""
        if not self.pretrained:
            return None
        if self.repository:
            return hub.cached(self.repository, self.file)
        return self.path if self.path.is_file() else None


@functools.cache
def catalog() -> dict[str, Entry]:
    """The known models, by the names that settings use."""
    tables = tomllib.loads((HERE / "catalog.toml").read_text(encoding="utf-8"))
    return {name: Entry.model_validate(table) for name, table in tables["clip"].items()}


def chosen(model: str, pretrained: str | None) -> Entry:
    """The entry that the settings mean: of the catalog, of a folder, or of open_clip's own list."""
    everyday = catalog()["ViT-B-32"].choices
    entry = catalog().get(model)
    if entry is None and is_path(model):
        folder = Path(model).expanduser().absolute()
        entry = Entry(architecture=folder.name, folder=str(folder), pretrained="folder", choices=everyday)
    if entry is None:
        entry = Entry(architecture=model, choices=everyday)
    if pretrained is None or pretrained == entry.pretrained:
        return entry
    if is_path(pretrained):
        file = str(Path(pretrained).expanduser().absolute())
        return entry.model_copy(update={"pretrained": "file", "repository": "", "file": file})
    return entry.model_copy(update={"pretrained": pretrained, "repository": "", "file": ""})


def is_path(name: str) -> bool:
    """Whether something is named by where it lies: names of models and tags hold no slash and no .safetensors."""
    return "/" in name or name.endswith(".safetensors")

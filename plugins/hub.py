"""Files of models that were published on the Hugging Face hub: taken from its cache, else fetched once.

The cache is read by its documented layout, so that a model that is there loads without a network and the host can name
its file without importing anything: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hooks import ModelUnavailable


def cache_folder() -> Path:
    """Where the hub's own library keeps files, by the environment variables that it knows."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def cached(repository: str, file: str) -> Path | None:
    """The file of the revision that was fetched last, or None."""
    folder = cache_folder() / f"models--{repository.replace('/', '--')}"
    main = folder / "refs" / "main"
    if not main.is_file():
        return None
    path = folder / "snapshots" / main.read_text().strip() / file
    return path if path.is_file() else None


def cached_folder(repository: str, files: Sequence[str]) -> Path | None:
    """The folder of the revision that was fetched last, if it has these files; else None."""
    paths = [cached(repository, file) for file in files]
    return paths[0].parent if paths[0] and all(paths) else None


def fetched(repository: str, file: str, setting: str) -> Path:
    """The file, from the cache or the hub; ModelUnavailable says how to bring it here, also by `setting`."""
    path = cached(repository, file)
    if path is not None:
        return path
    with _asking(f"{file} of {repository}", f"{repository} {file}", f"put the file anywhere and name it: {setting}"):
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(repository, file))


def fetched_folder(repository: str, files: Sequence[str], patterns: Sequence[str], setting: str) -> Path:
    """A folder with these files, and others that fit the patterns, from the cache or the hub; else as `fetched`."""
    folder = cached_folder(repository, files)
    if folder is not None:
        return folder
    with _asking(repository, repository, f"put its files into a folder and name that: {setting}"):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(repository, allow_patterns=list(patterns)))


@contextmanager
def _asking(what: str, command: str, otherwise: str) -> Iterator[None]:
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ModelUnavailable(f"The package {error.name} is missing.", "Install it with pip.") from error
    try:
        yield
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # of whichever HTTP library it uses
        raise ModelUnavailable(
            f"{what} is not on this machine and could not be fetched ({type(error).__name__}).",
            f"With a network, run `hf download {command}`; without one, copy the folder that this makes in "
            f"{cache_folder()} from another machine, or {otherwise}.",
        ) from error


def check(folder: Path) -> None:
    """Compare the files with the hashes that are known: of SHA256SUMS, and of the cache; ModelUnavailable names one."""
    for path, expected in {**_listed(folder), **_named(folder)}.items():
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != expected:
            raise ModelUnavailable(f"{path} is damaged: its SHA-256 is not {expected}.", "Remove it and get it anew.")


def _listed(folder: Path) -> dict[Path, str]:
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines() if sums.is_file() else []
    return {folder / name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def _named(folder: Path) -> dict[Path, str]:
    return {path: digest for path in folder.iterdir() if (digest := sha256_of_blob(path))}


def sha256_of_blob(path: Path) -> str | None:
    """The SHA-256 of a cached file without reading it, as the cache names large files by it; None if it does not."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None

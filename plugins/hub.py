"""Files of models that were published on the Hugging Face hub: taken from its cache, else fetched once.

The cache is read by its documented layout, so that a model that is there loads without a network and the host can name
its file without importing anything: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
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


def fetched(repository: str, file: str, setting: str) -> Path:
    """The file, from the cache or the hub; ModelUnavailable says how to bring it here, also by `setting`."""
    path = cached(repository, file)
    if path is not None:
        return path
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise ModelUnavailable(f"The package {error.name} is missing.", "Install it with pip.") from error
    try:
        return Path(hf_hub_download(repository, file))
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # of whichever HTTP library it uses
        raise ModelUnavailable(
            f"{file} of {repository} is not on this machine and could not be fetched ({type(error).__name__}).",
            f"With a network, run `hf download {repository} {file}`; without one, copy the folder that this makes in "
            f"{cache_folder()} from another machine, or put the file anywhere and name it: {setting}.",
        ) from error


def sha256_of_blob(path: Path) -> str | None:
    """The SHA-256 of a cached file without reading it, as the cache names large files by it; None if it does not."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None

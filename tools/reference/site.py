"""Hooks of mkdocs (mkdocs.yml names this file): put the generated pages among the others."""

from __future__ import annotations

from typing import Any

from mkdocs.structure.files import File

from tools.reference import commands, settings

PAGES = {"reference/commands.md": commands.page, "reference/settings.md": settings.page}


def on_files(files: Any, config: Any) -> Any:
    """Add a page for each generator."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    return files

"""What the tests of workers and plugins share beside the authors' kit."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hooks import Image
from hooks.testing.worker_client import CPU, WorkerClient, WorkerGone, worker_command

__all__ = ["CPU", "WorkerClient", "WorkerGone", "image_event", "worker_command"]


def image_event(path: Path, media_type: str = "image/png", name: str | None = None) -> Image:
    """An event for a picture that lies at `path`."""
    return Image(
        id=name or path.name, media_type=media_type, sha256="0" * 64, size=path.stat().st_size, path=path,
        name=name or path.name, source="test", origin=name or path.name, created=datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip

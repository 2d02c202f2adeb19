"""What the plugins for a model in a folder, which judge a recording as a whole, have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hooks import Audio, BadInput, Failure, Result, ResultData


class LocalModelSettings(BaseModel):
    """Which folder, and how its worker runs."""

    model_config = ConfigDict(extra="forbid")

    model: Path = Field(description="The folder of the model.")
    python: Path | None = Field(
        None, description="The interpreter of another environment, where the model's package is installed there."
    )
    keep_alive: float = Field(60, ge=0, description="Seconds without work until the model leaves memory; 0: at once.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @field_validator("model")
    @classmethod
    def _is_whole(cls, model: Path) -> Path:
        return model.expanduser().absolute()


def each(events: list[Audio], judge: Callable[[Audio], ResultData]) -> Iterator[Result | Failure]:
    """A result for each recording, or a failure that says why it cannot be judged."""
    for event in events:
        try:
            yield event.result(judge(event))
        except BadInput as error:
            yield event.failure(str(error))

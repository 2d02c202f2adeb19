"""Models that a plugin knows and could run, as data: what people choose from before anything is fetched."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class KnownModel(BaseModel):
    """A model of a plugin's catalog, with one way to keep its weights.

    `memory_mb`: a first guess of the whole worker (2^20 bytes), 0 for one that only servers run; `size_mb`: what is
    fetched (10^6 bytes). `parameters` and, of a mixture of experts, `active` in billions; `context` in tokens.
    `good_for`: marks from 1 to 100 by content, as {"code": 70}. `settings`: what chooses it, in the plugin's table.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    about: str = ""
    quantization: str = ""
    memory_mb: int = Field(default=0, ge=0)
    size_mb: int = Field(default=0, ge=0)
    parameters: float = Field(default=0.0, ge=0)
    active: float = Field(default=0.0, ge=0)
    context: int = Field(default=0, ge=0)
    licence: str = ""
    good_for: dict[str, int] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)

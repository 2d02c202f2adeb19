"""Groups vectors by density and draws contact sheets of groups; the host asks for both, no event comes here.

Source: R. J. G. B. Campello, D. Moulavi, J. Sander, Density-Based Clustering Based on Hierarchical Density Estimates,
PAKDD 2013 (HDBSCAN).
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from hooks import Artifact, BadInput, Context, Grouping, ModelSpec, ModelUnavailable, Task, hookimpl

api = ">=1,<2"


class ClustersSettings(BaseModel):
    """How vectors are grouped, and what is drawn of a group."""

    model_config = ConfigDict(extra="forbid")

    smallest: int = Field(
        0, ge=0, description="How many pictures make a cluster; 0: by their number, 5 or more, 12 of 300, 70 of 10,000."
    )
    dimensions: int = Field(
        32, ge=2, le=256, description="Directions of the vectors that are looked at: those in which they differ most."
    )
    most: int = Field(
        20_000,
        ge=100,
        le=200_000,
        description="Vectors that are grouped by their density (14 s); of more a sample, which the others join.",
    )
    sheet_pictures: int = Field(30, ge=1, le=400, description="Pictures on a contact sheet at most.")
    sheet_columns: int = Field(5, ge=1, le=20, description="Pictures in a row.")
    sheet_width: int = Field(1280, ge=320, le=8192, description="Its width in pixels.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return ClustersSettings


@hookimpl
def model_spec() -> ModelSpec:
    return ModelSpec(name="clusters", device="none", keep_alive=30, memory_mb=400, time_limit=900)


@hookimpl
def performs() -> tuple[str, ...]:
    return "group", "contact_sheet"


@hookimpl
def perform(task: Task, settings: ClustersSettings, context: Context) -> Iterator[Grouping | Artifact]:
    if task.name == "group":
        yield _grouping(task, settings)
    elif task.name == "contact_sheet":
        from plugins.clusters import sheet

        content = sheet.draw(task, settings)
        yield Artifact(suffix=".contact.jpg", media_type="image/jpeg", content=content)
    else:
        raise BadInput(f"The task {task.name!r} is not known here.")


def _grouping(task: Task, settings: ClustersSettings) -> Grouping:
    try:
        from plugins.clusters import grouping
    except ImportError as error:
        raise ModelUnavailable(
            f"Clusters need the Python package {error.name}.", "Install it: pip install 'sensorium[clusters]'."
        ) from error
    return grouping.perform(task, settings)

"""`sensorium cluster` and `sensorium clusters`: what arrived, in groups of the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import moment, near, pairs, plural, show, show_json, table, text
from host.cli.service import ask
from host.cli.waiting import waiting

if TYPE_CHECKING:
    from host.views import ClusterRun, ClusterView

NOTHING = "There are no clusters yet: `sensorium cluster` looks for them."


def cluster(
    anew: Annotated[bool, typer.Option("--anew", help="Group everything again; names stay with their files.")] = False,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Name every cluster again: one call of a model for each.")
    ] = False,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Group what is alike: new files join the groups that are there, and what finds no place may make a new one."""
    chosen = configuration(config, data)
    with waiting("Grouping"):
        done = ask(chosen, lambda service: service.cluster(anew, relabel), writes=True)
    if as_json:
        show_json(done)
    else:
        _show_run(done)


def _show_run(done: ClusterRun) -> None:
    if not done.looked and not done.grouped:
        show(text("Nothing new has arrived since the last look."))
    if done.looked:
        show(text(f"{plural(done.looked, 'new vector')}, of which {done.joined} joined a cluster."))
    if done.grouped:
        show(text(f"All {done.grouped} were grouped: {done.made} new, {done.kept} found again, {len(done.gone)} gone."))
    if done.labelled:
        show(text(f"Named with {plural(done.calls, 'call')} of models: {', '.join(done.labelled)}."))
    show(text(f"{plural(done.clusters, 'cluster')} of {done.placed}; {done.noise} belong to none."))
    if done.albums:
        show(text(f"Albums: {near(done.albums)}"))
    for problem in done.problems:
        show(text((problem, "yellow")))


def clusters(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One cluster, with all of its files.")] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the clusters, the largest first; or show one."""
    found = ask(configuration(config, data), lambda service: service.clusters(name))
    if as_json:
        show_json(found)
    elif not found:
        show(text(NOTHING))
    elif name is None:
        _show_all(found)
    else:
        _show_one(found[0])


def _show_all(found: list[ClusterView]) -> None:
    grid = table("Files", "Name", "Tags", "Sure", "Most typical", numbers=["Files", "Sure"])
    for view in found:
        label = view.label or {}
        tags, sure = label.get("tags"), label.get("confidence")
        shown = ", ".join(str(tag) for tag in tags) if isinstance(tags, list) else ""
        typical = text((view.members[0].origin if view.members else "", "dim"))
        grid.add_row(
            text(str(view.size)), text((view.name, "bold")), text(shown), text(f"{sure:.2f}" if sure else ""), typical
        )
    show(grid)


def _show_one(view: ClusterView) -> None:
    label, enrichment = view.label or {}, view.enrichment or {}
    facts = [
        ("files", str(view.size)),
        *((name.replace("_", " "), value) for name, value in label.items() if name != "cluster_name"),
        *((name.replace("_", " "), value) for name, value in enrichment.items()),
        ("space", view.space),
        ("since", moment(view.made)),
    ]
    show(text((view.name, "bold")))
    show(pairs((name, _plain(value)) for name, value in facts if value))
    grid = table("Score", "File", "Content", "Event", numbers=["Score"], whole=["Event"])
    for one in view.members:
        cells = (text(one.origin), text((near(one.path), "dim")), text((one.event[:8], "dim")))
        grid.add_row(text(f"{one.score:.3f}"), *cells)
    show(grid)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name.replace('_', ' ')}: {_plain(one)}" for name, one in value.items() if one)
    return ", ".join(str(one) for one in value) if isinstance(value, list) else str(value)

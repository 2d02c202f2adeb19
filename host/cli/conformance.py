"""`sensorium plugin check`: whether a plugin keeps to the contract, and what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hooks import InvalidPlugin
from host.cli.options import AsJson, ConfigFile, configuration
from host.cli.output import plural, show, show_json, table, text
from host.cli.waiting import waiting
from host.errors import HostError, NotFound

if TYPE_CHECKING:
    from hooks.testing.report import Report

STATES = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("mend", "bold red"),
    "skipped": ("skipped", "dim"),
}


def check(
    plugin: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="An installed plugin, a module, a .py file or a folder with pyproject.toml."
        ),
    ],
    sample: Annotated[
        list[Path] | None,
        typer.Option("--sample", metavar="FILE", help="A file that it works on, beside the usual ones; repeatable."),
    ] = None,
    patience: Annotated[
        float, typer.Option("--patience", min=1, metavar="SECONDS", help="For loading it, and for one answer.")
    ] = 300,
    quick: Annotated[bool, typer.Option("--quick", help="Load nothing: look only at what its code says.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try a plugin in workers of its own, on good files and bad ones; ends with 1 when something needs mending."""
    from hooks.testing.conformance import check_plugin
    from hooks.testing.references import find

    missing = [str(path) for path in sample or () if not path.is_file()]
    if missing:
        raise NotFound(f"There is no file {missing[0]}.", "Name files with --sample.")
    try:
        named = find(plugin)
    except InvalidPlugin as error:
        raise NotFound(error.message, error.hint) from error
    settings = configuration(config).plugin_settings(named.name)
    with waiting(f"Trying {named.name}"):
        report = check_plugin(plugin, settings=settings, files=sample or (), patience=patience, in_workers=not quick)
    if as_json:
        checks = [
            {"name": one.name, "state": one.state, "found": one.found, "advice": one.advice} for one in report.checks
        ]
        show_json({"plugin": report.plugin, "module": report.module, "ok": report.ok, "checks": checks})
    else:
        _show(report)
    if not report.ok:
        failed = len(report.of_state("failed"))
        raise HostError(
            f"{report.plugin}: {failed} of {plural(len(report.checks), 'check')} failed.", "What to mend stands above."
        )


def _show(report: Report) -> None:
    show(text((report.plugin, "bold"), f" ({report.module})"))
    grid = table("Check", "", "Found", whole=["Check", ""])
    for one in report.checks:
        grid.add_row(text(one.name), text(STATES[one.state]), text(one.found))
        if one.advice:
            grid.add_row("", "", text((one.advice, "yellow")))
    show(grid)

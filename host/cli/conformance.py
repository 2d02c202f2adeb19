"""`sensorium plugin check`: whether a plugin keeps to the contract, and what to mend."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hooks import InvalidPlugin
from host.cli.options import AsJson, ConfigFile, configuration
from host.cli.output import plural, show, show_json, table, text
from host.cli.waiting import waiting
from host.config import Config
from host.errors import HostError, NotFound

if TYPE_CHECKING:
    from hooks.testing.report import Report
    from host.isolation import Home

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
    missing = [str(path) for path in sample or () if not path.is_file()]
    if missing:
        raise NotFound(f"There is no file {missing[0]}.", "Name files with --sample.")
    chosen = configuration(config)
    request = {"files": [str(path.absolute()) for path in sample or ()], "patience": patience, "in_workers": not quick}
    with waiting(f"Trying {plugin}"), contextlib.redirect_stdout(sys.stderr):  # what it prints must not break --json
        home = _home(plugin, chosen)
        report = _here(plugin, chosen, request) if home is None else _there(home, plugin, chosen, request)
    if as_json:
        show_json({**asdict(report), "ok": report.ok})
    else:
        _show(report)
    if not report.ok:
        failed = len(report.of_state("failed"))
        raise HostError(
            f"{report.plugin}: {failed} of {plural(len(report.checks), 'check')} failed.", "What to mend stands above."
        )


def _home(plugin: str, config: Config) -> Home | None:
    """The environment of its own that an installed plugin has, if it has one."""
    from host.isolation import Isolated

    isolated = Isolated(config.paths.data / "plugins")
    points = (point for point in isolated.entry_points() if point.name == plugin)
    return next(filter(None, map(isolated.home_of, points)), None)


def _here(plugin: str, config: Config, request: dict[str, Any]) -> Report:
    from hooks.testing.conformance import check_plugin
    from hooks.testing.references import find

    try:
        named = find(plugin)
    except InvalidPlugin as error:
        raise NotFound(error.message, error.hint) from error
    files = [Path(file) for file in request["files"]]
    return check_plugin(plugin, **{**request, "files": files, "settings": config.plugin_settings(named.name)})


def _there(home: Home, plugin: str, config: Config, request: dict[str, Any]) -> Report:
    """The check by the interpreter of that environment, where alone the plugin can be imported."""
    from hooks.testing.report import Check, Report

    if home.problem:
        raise HostError(f"{plugin} cannot be tried: {home.problem}")
    asked = {**request, "plugin": plugin, "settings": config.plugin_settings(plugin)}
    command = [str(home.python), "-I", "-m", "hooks.testing"]
    done = subprocess.run(command, input=json.dumps(asked, default=str), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise HostError(f"{plugin} could not be tried in its environment: {last}")
    said = json.loads(done.stdout)
    return Report(said["plugin"], said["module"], [Check(**one) for one in said["checks"]])


def _show(report: Report) -> None:
    show(text((report.plugin, "bold"), f" ({report.module})"))
    grid = table("Check", "", "Found", whole=["Check", ""])
    for one in report.checks:
        grid.add_row(text(one.name), text(STATES[one.state]), text(one.found))
        if one.advice:
            grid.add_row("", "", text((one.advice, "yellow")))
    show(grid)

"""`sensorium doctor`: what on this machine would keep the host from working well."""

from __future__ import annotations

from host.cli.checks import run_checks
from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import show, show_json, table, text
from host.errors import HostError
from host.views import Check


def doctor(config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """Check this machine and the data directory; ends with 1 when something needs attention."""
    checks = run_checks(configuration(config, data))
    if as_json:
        show_json(checks)
    else:
        _show(checks)
    bad = sum(not check.ok for check in checks)
    if bad:
        raise HostError(f"{bad} of {len(checks)} checks need attention.", "What to do stands beside each.")


def _show(checks: list[Check]) -> None:
    grid = table("Check", "", "Found", whole=["Check", ""])
    for check in checks:
        verdict = text(("ok", "green")) if check.ok else text(("attention", "bold red"))
        grid.add_row(text(check.name), verdict, text(check.found))
        if check.advice:
            grid.add_row("", "", text((check.advice, "yellow")))
    show(grid)

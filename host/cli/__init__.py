"""The command line. Each command asks the running host over its socket, or does the same work by itself."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hooks import SensoriumError
from host.cli import (
    ask,
    clusters,
    configuration,
    doctor,
    files,
    inventory,
    leases,
    managing,
    mqtt,
    new_plugin,
    plan,
    results,
    run,
    say,
    search,
    status,
    tasks,
)
from host.cli.extensions import plugin_commands
from host.cli.output import show_error
from host.errors import HostError

INTERRUPTED = 130
EXIT_CODES = (
    "Exit codes: 0 done; 1 something else went wrong; 2 the command cannot be done as it was typed; "
    "3 the configuration is not valid; 4 another host has the data directory; 5 no such file, event or plugin "
    "is known; 6 some of the work failed; 7 the journal cannot be used; 8 the library cannot be written; "
    "130 interrupted."
)
COMMANDS = (
    ("Work", (run.run, files.submit, say.say, files.requeue, clusters.cluster, run.pause, run.resume)),
    ("Look", (status.status, leases.leases, results.results, results.why, search.search, ask.ask, clusters.clusters)),
    ("Set up", (inventory.plugins, inventory.models, plan.plan, new_plugin.new_plugin, doctor.doctor)),
)


class Commands(TyperGroup):
    """Turns the host's errors into a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SensoriumError as error:
            raise _ended(error) from error
        except BaseExceptionGroup as group:
            known = _first_known(group)
            if known is None:
                raise  # a mistake of ours: the whole trace helps to find it
            raise _ended(known) from group
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *plugin_commands()]

    def get_command(self, ctx: Any, name: str) -> Any:
        """Ours, else a plugin's: the plugins are imported only for a command that is not ours, and for `--help`."""
        return super().get_command(ctx, name) or plugin_commands().get(name)


def _ended(error: SensoriumError) -> typer.Exit:
    show_error(error)
    return typer.Exit(getattr(error, "exit_code", HostError.exit_code))


def _first_known(group: BaseExceptionGroup[BaseException]) -> SensoriumError | None:
    """What a background task of the host died of, where that has words for people."""
    for error in group.exceptions:
        found = _first_known(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, SensoriumError):
            return found
    return None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sensorium {version('sensorium')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Drop files into a folder, get them understood and found again, on your own machine."""


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        cls=Commands, epilog=EXIT_CODES, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(_root)
    for panel, functions in COMMANDS:
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(mqtt.app, name="mqtt", rich_help_panel="Work")
    app.add_typer(tasks.app, name="tasks", rich_help_panel="Work")
    app.add_typer(configuration.app, name="config", rich_help_panel="Set up")
    app.add_typer(managing.app, name="plugin", rich_help_panel="Set up")
    return app

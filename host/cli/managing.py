"""`sensorium plugin install` and its neighbours: which plugins there are, and which of them this host uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from host.cli import inventory
from host.cli import plugin as one_plugin
from host.cli.options import ConfigFile, DataDir, configuration
from host.cli.output import show_whole, text
from host.cli.service import ask

if TYPE_CHECKING:
    from host.isolation import Isolated

app = one_plugin.app
RESTART = "A host that runs now does so from its next start on."
Plugin = Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as `sensorium plugins` lists it.")]


app.command(name="list")(inventory.plugins)


@app.command()
def install(
    package: Annotated[str, typer.Argument(metavar="PACKAGE|PATH", help="A package's name, a wheel or its folder.")],
    isolated: Annotated[
        bool,
        typer.Option("--isolated", help="Give it an environment of its own, for dependencies that clash with others'."),
    ] = False,
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Install a plugin, or a newer version of it."""
    from host.installing import install as install_package

    for plugin in install_package(package, _isolated(config, data), apart=isolated):
        where = " in an environment of its own" if isolated else ""
        origin = f" {plugin.version}, from {plugin.distribution}, is "
        show_whole(text((plugin.name, "bold"), origin, ("installed", "green"), f"{where}. {RESTART}"))
        for note in plugin.notes:
            show_whole(text((f"{plugin.name}: {note}.", "yellow")))


@app.command()
def uninstall(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, or its package's.")],
    config: ConfigFile = None,
    data: DataDir = None,
) -> None:
    """Take a plugin's package away, and its environment with it; what it found, and its jobs, are kept."""
    from host.installing import uninstall as uninstall_package

    distribution = uninstall_package(name, _isolated(config, data))
    show_whole(text((distribution, "bold"), " is ", ("uninstalled", "yellow"), f". {RESTART}"))


@app.command()
def enable(plugin: Plugin, config: ConfigFile = None, data: DataDir = None) -> None:
    """Use a plugin again that was disabled, or that the host suspended; its jobs that waited are done."""
    at_once = ask(configuration(config, data), lambda service: service.switch_plugin(plugin, True), writes=True)
    show_whole(text((plugin, "bold"), " is ", ("enabled", "green"), f". {'' if at_once else RESTART}".rstrip()))


@app.command()
def disable(plugin: Plugin, config: ConfigFile = None, data: DataDir = None) -> None:
    """Use a plugin no more: it gets no new jobs, and those that it has wait until it is enabled."""
    ask(configuration(config, data), lambda service: service.switch_plugin(plugin, False), writes=True)
    show_whole(text((plugin, "bold"), " is ", ("disabled", "yellow"), ". Its jobs are kept."))


def _isolated(config: ConfigFile, data: DataDir) -> Isolated:
    from host.isolation import Isolated

    return Isolated(configuration(config, data).paths.data / "plugins")

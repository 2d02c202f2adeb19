"""`sensorium plugin disable` and its neighbours: which plugins this host uses."""

from __future__ import annotations

from typing import Annotated

import typer

from host.cli import plugin as one_plugin
from host.cli.options import ConfigFile, DataDir, configuration
from host.cli.output import show_whole, text
from host.cli.service import ask

Plugin = Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as `sensorium plugins` lists it.")]
app = one_plugin.app
RESTART = "The host that runs now does so from its next start on."


@app.command()
def enable(plugin: Plugin, config: ConfigFile = None, data: DataDir = None) -> None:
    """Use a plugin again that was disabled, or that the host suspended; its jobs that waited are done."""
    at_once = ask(configuration(config, data), lambda service: service.switch_plugin(plugin, True), writes=True)
    show_whole(text((plugin, "bold"), " is ", ("enabled", "green"), ". ", "" if at_once else RESTART))


@app.command()
def disable(plugin: Plugin, config: ConfigFile = None, data: DataDir = None) -> None:
    """Use a plugin no more: it gets no new jobs, and those that it has wait until it is enabled."""
    ask(configuration(config, data), lambda service: service.switch_plugin(plugin, False), writes=True)
    show_whole(text((plugin, "bold"), " is ", ("disabled", "yellow"), ". Its jobs are kept."))

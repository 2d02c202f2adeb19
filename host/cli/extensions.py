"""Commands that plugins add with `register_commands`."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from host.config import load_config
from host.errors import ConfigError
from host.log import get_logger

if TYPE_CHECKING:
    from host.plugin_manager import Plugin

log = get_logger(__name__)


@cache
def plugin_commands() -> dict[str, Any]:
    """The commands of all plugins in use, by name; a plugin whose settings are wrong adds none."""
    from host.plugin_manager import find_plugins  # imports every plugin

    configured = {}
    with contextlib.suppress(ConfigError):
        configured = load_config().plugins
    registry = find_plugins(configured, lambda _name, settings_class: settings_class.model_construct())
    return {name: command for plugin in registry.usable.values() for name, command in commands_of(plugin).items()}


def commands_of(plugin: Plugin) -> dict[str, Any]:
    """The commands that one plugin adds, by name."""
    if "register_commands" not in plugin.hooks:
        return {}
    app = typer.Typer()
    try:
        plugin.manager.hook.register_commands(app=app)
    except Exception as error:  # noqa: BLE001 - the plugin boundary: a command more or less
        log.warning("plugin failed to add its commands", plugin=plugin.name, error=repr(error))
        return {}
    if not (app.registered_commands or app.registered_groups):
        return {}
    app.callback()(lambda: None)  # without it, a single command would stand for the whole group
    return dict(typer.main.get_group(app).commands)

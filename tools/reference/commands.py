"""The page of commands, from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from host.cli import EXIT_CODES, build
from host.cli.extensions import commands_of
from host.plugin_manager import find_plugins
from tools.reference.markdown import cell, code, table

COMMON = ("--config", "--data", "--json", "--help")
INTRODUCTION = f"""# Commands

`sensorium COMMAND --help` says the same on the terminal. A command asks the running host over its socket, and does the
work itself where none runs. Most take `--config FILE` (else `./config.toml` when it is there, else the defaults) and
`--data DIR` (the host's own folder, instead of the configured one); one that prints data prints it for machines with
`--json`.

{EXIT_CODES} [Troubleshooting](../troubleshooting.md#exit-codes) says what to do about each.
"""


def page() -> str:
    """The whole page, a heading for each command."""
    return "\n".join([INTRODUCTION, *(_section(path, command) for path, command in commands())])


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of ours by its words, as `mqtt watch`, and those of the plugins that come with the host."""
    yield from _below(get_command(build()), ())
    registry = find_plugins({}, lambda _name, settings: settings.model_construct())
    for plugin in registry.usable.values():
        if plugin.distribution == "sensorium":
            yield from sorted(commands_of(plugin).items())


def _below(group: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def _section(path: str, command: Any) -> str:
    context = command.make_context(f"sensorium {path}", [], resilient_parsing=True)
    records = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    common = [names.split()[0] for names, _ in records if names.startswith(COMMON)]
    own = [(code(_named(names)), cell(text)) for names, text in records if not names.startswith(COMMON)]
    parts = [f"## sensorium {path}", str(command.help), f"`{_usage(path, command, context)}`"]
    parts += [table(("", ""), own)] if own else []
    parts.append(f"Also {', '.join(f'`{name}`' for name in common)}.")
    return "\n\n".join(parts) + "\n"


def _usage(path: str, command: Any, context: Any) -> str:
    """As a person types it: typer doubles the brackets and dots of names that have them."""
    pieces = (re.sub(r"^\{(.*)\}", r"\1", piece) for piece in command.collect_usage_pieces(context))
    return " ".join(["sensorium", path, *(re.sub(r"^\[(\[.*\])(\.\.\.)?\]", r"\1", one) for one in pieces)])


def _named(names: str) -> str:
    """An option with what it takes; of an argument the name alone."""
    name, _, kind = names.partition(" <")
    kind = kind.rstrip(">").removesuffix(" range")
    return f"{name} {kind}" if name.startswith("--") and kind else name

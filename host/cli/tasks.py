"""`sensorium tasks` and `sensorium tasks try`: what models can be asked, and one of it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration, file_query
from host.cli.output import lines, show, show_json, table, text
from host.cli.service import ask
from host.errors import UsageError
from host.views import ResultView

UNSAID = ("generation", "ddl", "insert", "text")  # of a result: what is shown by itself, or of no use here
NONE = 'No plugin in use performs tasks. With "[plugins.llm]" in config.toml a language model does.'

app = typer.Typer(invoke_without_command=True, help="What models can be asked; `try` asks one.")


@app.callback()
def tasks(context: typer.Context, config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """The tasks of the plugins in use; each is a file that can be copied and changed."""
    if context.invoked_subcommand is not None:
        return
    found = ask(configuration(config, data), lambda service: service.tasks())
    if as_json:
        show_json(found)
        return
    grid = table("Task", "Plugin", "What it does", whole=["Task", "Plugin"])
    for task in (task for task in found if task.about):  # others are the host's own business
        grid.add_row(text((task.name, "bold")), text(task.plugin), text(task.about))
    show(grid if grid.row_count else text(NONE))


@app.command("try")
def attempt(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which task.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file; it is not taken in.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="What its wording leaves open; repeatable.")
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Put a task to a file, and show what comes of it; nothing is kept."""
    values = dict(_pair(one) for one in settings or ())
    chosen = configuration(config, data)
    found = ask(chosen, lambda service: service.try_task(name, file_query(str(file)), dict(values)), writes=True)
    if as_json:
        show_json(found)
        return
    for result in found:
        _show(result)


def _pair(said: str) -> tuple[str, str]:
    key, mark, value = said.partition("=")
    if not (key.strip() and mark):
        raise UsageError(f"{said!r} sets nothing.", "Write it as --set language=German.")
    return key.strip(), value


def _show(result: ResultView) -> None:
    found = result.data if isinstance(result.data, dict) else {"value": result.data}
    show(text((result.type, "bold"), f"  of {result.plugin}"))
    if found.get("text"):
        show(lines(str(found["text"])))
    for key, value in found.items():
        if key not in UNSAID and value not in (None, "", [], {}):
            show(text(f"  {key}: ", (str(value), "cyan")))
    if found.get("ddl"):
        show(lines(str(found["ddl"])))

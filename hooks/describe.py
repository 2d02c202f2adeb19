"""Says what the plugins of an environment are, for a host that cannot import them: `python -m hooks.describe`.

stdin    {"plugin": {…its settings…}, …}          the tables that the configuration has for them
stdout   [{"name": …, "module": …, "hooks": …}]   one for each entry point; what plugins print goes to stderr
"""

from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from hooks.errors import SensoriumError
from hooks.worker import NoSettings, plugin_manager, register, resolve

GROUP = "sensorium"
ATTRIBUTES = ("api", "optional", "media_types", "__doc__")  # what a plugin may state beside its hooks
HOST_HOOKS = ("identify", "register_commands")  # what runs in the host's own process


def described(name: str, module: str, table: dict[str, Any]) -> dict[str, Any]:
    """What one plugin says of itself; `error` where that is all there is to say."""
    try:
        return _described(name, module, table)
    except SensoriumError as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"it cannot be imported: {error}. Install what it needs."}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin boundary
        return {"error": f"it failed to start: {type(error).__name__}: {error}"[:2000]}


def _described(name: str, module: str, table: dict[str, Any]) -> dict[str, Any]:
    plugin, manager = resolve(module), plugin_manager()
    kinds = register(manager, plugin, name)
    callers = manager.get_hookcallers(plugin) or ()
    hooks = [caller.name for caller in callers if caller.get_hookimpls() and caller.name not in HOST_HOOKS]
    said: dict[str, Any] = {
        "attributes": {one: getattr(plugin, one) for one in ATTRIBUTES if hasattr(plugin, one)},
        "hooks": hooks,
        "host_hooks": [caller.name for caller in callers if caller.name in HOST_HOOKS],
        "kinds": [cls.model_fields["kind"].default for cls in kinds],
    }
    settings_class: type[BaseModel] = manager.hook.settings_class() or NoSettings
    said["schema"] = settings_class.model_json_schema()
    try:
        settings = settings_class.model_validate_json(json.dumps(table), strict=True)
    except ValidationError as error:
        return {**said, "problems": _problems(error)}
    said["settings"] = settings.model_dump(mode="json")
    if "model_spec" in hooks:
        said["spec"] = TypeAdapter(Any).dump_python(manager.hook.model_spec(settings=settings), mode="json")
    if "register_sources" in hooks:
        said["sources"] = TypeAdapter(Any).dump_python(manager.hook.register_sources(settings=settings), mode="json")
    if "performs" in hooks:
        said["tasks"] = sorted(manager.hook.performs(settings=settings))
    return said


def _problems(error: ValidationError) -> list[dict[str, Any]]:
    return [
        {"type": one["type"], "loc": one["loc"], "msg": one["msg"], "input": one["input"]}
        for one in error.errors(include_url=False, include_context=False)
    ]


def main() -> int:
    """Answer once."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what plugins print must not break the answer
    tables = json.load(sys.stdin)
    found = [
        {"name": point.name, "module": point.value, **described(point.name, point.value, tables.get(point.name) or {})}
        for point in metadata.entry_points(group=GROUP)
    ]
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(found, stream, default=str)
    return 0


if __name__ == "__main__":
    sys.exit(main())

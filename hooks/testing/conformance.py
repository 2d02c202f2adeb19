"""The conformance check of a plugin: what every host expects of it, looked at one by one, in real processes."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pluggy import PluginValidationError
from pydantic import BaseModel, ValidationError

from hooks import api
from hooks.errors import SensoriumError
from hooks.events import FINISH, KINDS
from hooks.testing import import_probe, samples
from hooks.testing.references import Opened, Reference, find, open_plugin
from hooks.testing.report import Check, Report, bad, doubtful, good, skipped, words
from hooks.testing.trials import trials

ARGUMENTS = "An implementation takes arguments of its hook, by their names, and no other."
LARGEST_IMPORT_MB = 40
SLOWEST_IMPORT = 1.0  # times what Python and `import hooks` take in the same process


def check_plugin(
    plugin: str | Path | ModuleType,
    *,
    settings: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    patience: float = 300,
    in_workers: bool = True,
    tell: Callable[[Check], None] = lambda check: None,
) -> Report:
    """Look at a plugin as `sensorium plugin check` does. `files` are further samples for it.

    Without `in_workers` nothing is loaded: only what its code says of itself is looked at.
    `tell` is called with each check as it ends; loading a large model takes its time. `patience`: seconds for loading,
    and for one answer. Raises InvalidPlugin when there is no such plugin.
    """
    reference = find(plugin)
    report = Report(reference.name, reference.module)
    for check in _checks(reference, dict(settings or {}), files, patience, in_workers):
        report.checks.append(check)
        tell(check)
    return report


def _checks(
    reference: Reference, settings: dict[str, Any], files: Sequence[Path], patience: float, in_workers: bool
) -> Iterator[Check]:
    cost = import_probe.measure(sys.executable, reference.module, reference.python_path(), settings, patience)
    if isinstance(cost, str):
        yield bad("import", cost, "Import what may be missing inside load or the hook, and raise ModelUnavailable.")
        yield skipped("all else", "it cannot be imported")
        return
    yield _import_check(cost)
    plugin = reference.opened()
    yield api_check(plugin)
    try:
        opened = open_plugin(reference, settings)
    except ValidationError as error:
        yield from _without_settings(reference, error)
        return
    except Exception as error:  # noqa: BLE001 - the plugin boundary
        yield bad("hooks", words(error), ARGUMENTS if isinstance(error, PluginValidationError) else "")
        yield skipped("all else", "the host could not use it")
        return
    yield hooks_check(opened, plugin)
    yield from settings_checks(type(opened.settings), opened.values)
    yield from spec_checks(opened)
    if "identify" in opened.hooks:
        yield identify_check(opened)
    if in_workers:
        yield from trials(opened, files, patience)


def _import_check(cost: import_probe.Cost) -> Check:
    ratio = cost.seconds / max(cost.start_seconds, 0.001)
    found = f"{cost.seconds * 1000:.0f} ms beside {cost.start_seconds * 1000:.0f} ms for Python and hooks"
    found += f", {max(0.0, cost.memory_mb):.0f} MB"
    if cost.heavy:
        names = ", ".join(cost.heavy)
        return bad("import", f"it imports {names} ({found})", f"Import {names} inside load or the hook.")
    if cost.threads:
        return bad("import", f"it starts {cost.threads} threads", "Start nothing before load.")
    if cost.memory_mb > LARGEST_IMPORT_MB:
        return bad("import", found, f"Stay under {LARGEST_IMPORT_MB} MB: the host imports every plugin.")
    if ratio > SLOWEST_IMPORT:
        return doubtful("import", found, "Import what takes its time inside load or the hook.")
    if cost.printed:
        return doubtful("import", f"it prints {cost.printed.strip()!r}", "Print nothing: use the logging module.")
    return good("import", found)


def _without_settings(reference: Reference, error: ValidationError) -> Iterator[Check]:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    yield skipped(
        "settings",
        f"[plugins.{reference.name}] is not complete: {where}: {first['msg']}",
        "Name a configuration with its settings: --config FILE.",
    )
    yield skipped("all else", "its settings are not complete")


def api_check(plugin: Any) -> Check:
    """Whether it says which versions of the hook API it is made for, and this one is among them."""
    spoken = ".".join(map(str, api.CURRENT))
    wanted = getattr(plugin, "api", None)
    if wanted is None:
        advice = f'Write api = ">={api.CURRENT[0]},<{api.CURRENT[0] + 1}" in the module.'
        return doubtful("api", "it does not say which versions of the hook API it is made for", advice)
    try:
        fits = api.accepts(wanted)
    except SensoriumError as error:
        return bad("api", error.message, error.hint)
    if not fits:
        return bad("api", f"it is made for {wanted}, and this is {spoken}", "Widen the range when it works with this.")
    return good("api", f"made for {wanted}, this is {spoken}")


def hooks_check(opened: Opened, plugin: Any) -> Check:
    """Whether all its implementations are of hooks that there are; pluggy has looked at their arguments by now."""
    unknown = [one.name for one in opened.manager.get_hookcallers(plugin) or () if one.spec is None]
    if unknown:
        known = "Hooks are in hooks.hookspecs; on_KIND comes with register_kinds."
        return bad("hooks", f"{', '.join(unknown)} is no hook", known)
    if not opened.hooks:
        return bad("hooks", "it implements none", "Mark its functions with @hookimpl.")
    others = sorted(opened.event_hooks - {FINISH})
    if FINISH in opened.hooks and others:
        return bad("hooks", f"{FINISH} beside {', '.join(others)}", "Make two plugins of it, each with its name.")
    if "unload" in opened.hooks and "load" not in opened.hooks:
        return doubtful("hooks", "unload without load", "unload gets what load returns.")
    return good("hooks", ", ".join(sorted(opened.hooks)))


def settings_checks(settings: type[BaseModel], values: dict[str, Any]) -> Iterator[Check]:
    """Whether mistakes in its table are found, and people and editors are told what there is."""
    name, fields = "settings", settings.model_fields
    if fields and settings.model_config.get("extra") != "forbid":
        advice = 'Say model_config = ConfigDict(extra="forbid") in it.'
        yield bad(name, f"a mistyped key is not noticed: {settings.__name__} takes unknown ones", advice)
        return
    try:
        settings.model_json_schema()
        again = settings.model_validate(values).model_dump(mode="json")
    except Exception as error:  # noqa: BLE001 - the plugin boundary: validators are its code
        yield bad(name, f"they do not survive the way to the worker: {words(error)}", "Take what JSON can say.")
        return
    if again != values:
        changed = ", ".join(key for key in values if again.get(key) != values[key])
        yield bad(
            name, f"{changed} is not the same after the way to the worker", "Let validators change nothing twice."
        )
        return
    silent = [key for key, field in fields.items() if not field.description]
    if silent:
        yield doubtful(name, f"nothing says what {', '.join(silent)} is for", "Give each Field a description.")
        return
    yield good(name, ", ".join(fields) or "it has none")


def spec_checks(opened: Opened) -> Iterator[Check]:
    """Whether its spec is one, is the same each time, and its variants go with its settings."""
    if "model_spec" not in opened.hooks:
        yield good("spec", "no model, so no lease")
        return
    spec, again = opened.spec, opened.manager.hook.model_spec(settings=opened.settings)
    if again != spec:
        yield bad("spec", "model_spec gives something else when it is asked again", "Let it depend on settings alone.")
        return
    for variant in spec.variants:
        try:
            type(opened.settings).model_validate({**opened.values, **variant.settings})
        except ValidationError as error:
            yield bad("spec", f"the settings of the variant {variant.name}: {error.errors()[0]['msg']}")
            return
    larger = [variant.name for variant in spec.variants if variant.memory_mb >= spec.memory_mb and not variant.device]
    if larger:
        yield doubtful("spec", f"{', '.join(larger)} is not smaller than the model", "Variants are for less memory.")
        return
    missing = [str(file) for file in spec.files if not file.exists()]
    if missing:
        yield doubtful("spec", f"{', '.join(missing)} is not there", "Name files for provenance once they are there.")
        return
    yield good("spec", f"{spec.name}: {spec.memory_mb} MB, {spec.device}, batches of {spec.batch}")


def identify_check(opened: Opened) -> Check:
    """Whether it answers to any content, quickly known or None."""
    kinds = (*KINDS, *opened.kinds)
    heads = [b"", b"\0", random.Random(1).randbytes(8192), *(samples.sample(kind)[2][:8192] for kind in KINDS)]
    for head in heads:
        try:
            found = opened.manager.hook.identify(head=head, name="a")
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            return bad("identify", f"it raises {words(error)} for {head[:8]!r}…", "Return None for what is not yours.")
        match found:
            case None:
                continue
            case (str(kind), str(media_type)) if kind in kinds and "/" in media_type:
                continue
        return bad(
            "identify", f"it answers {found!r}", f"Return (kind, media type) or None; kinds: {', '.join(kinds)}."
        )
    return good("identify", f"an answer to each of {len(heads)} contents")

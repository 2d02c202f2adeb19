"""Installs plugins, into the host's own environment or into one of their own, and takes them away again.

Into the host's environment nothing is installed that would change what the host itself needs: the installer is held to
the versions that are there, and what cannot be installed beside them can be installed with `isolated`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from hooks.describe import GROUP
from hooks.errors import InvalidPlugin
from host.errors import HostError, NotFound, UsageError
from host.isolation import SELF, Home, Isolated
from host.log import get_logger
from host.plugin_manager import entry_points

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that was installed; `notes` are sentences that its user should know."""

    name: str
    distribution: str
    version: str
    notes: tuple[str, ...] = ()


def install(package: str, isolated: Isolated, *, apart: bool = False) -> list[Installed]:
    """Install a package by its name or path, or a newer version of it. Raises HostError with the installer's words."""
    wanted = str(Path(package).resolve()) if Path(package).exists() else package
    return _install_apart(wanted, isolated) if apart else _install_here(wanted, isolated)


def uninstall(name: str, isolated: Isolated) -> str:
    """Take away the package that a plugin came with, by either's name. Returns the package's name."""
    points = [point for point in entry_points(isolated) if point.dist and name in (point.name, point.dist.name)]
    if not points or points[0].dist is None:
        raise NotFound(f"No plugin or package is called {name}.", "`sensorium plugin list` shows them.")
    distribution, home = points[0].dist.name, isolated.home_of(points[0])
    if home is not None:
        shutil.rmtree(home.folder)
    elif distribution == SELF:
        raise UsageError(f"{name} comes with the host.", f"`sensorium plugin disable {name}` switches it off.")
    else:
        _run(_command(Path(sys.executable), "uninstall", distribution), f"{distribution} is still there")
    return distribution


# -- into the host's environment ------------------------------------------------------------------------------------


def _install_here(package: str, isolated: Isolated) -> list[Installed]:
    before = {(point.name, _of(point)) for point in entry_points(isolated)}
    there = {distribution.name for distribution in metadata.distributions()}
    with _constraints() as file:
        _run(
            _command(Path(sys.executable), "install", "--constraint", str(file), package),
            f"{package} was not installed",
            "If it needs other versions of what the host needs, too: `sensorium plugin install --isolated`.",
        )
    importlib.invalidate_caches()
    _see_new_folders()
    points = [point for point in entry_points() if point.dist and point.dist.name != SELF]
    mine = [point for point in points if _is_it(point, package)]
    if not mine:
        new = sorted({distribution.name for distribution in metadata.distributions()} - there)
        if new:
            _run(_command(Path(sys.executable), "uninstall", *new), "what was installed is still there")
        raise HostError(f"{package} has no plugin.", _no_plugin())
    for point in mine:
        if others := [other for name, other in before if name == point.name and other != _of(point)]:
            log.warning("two plugins of one name", plugin=point.name, packages=[_of(point), *others])
    return [Installed(point.name, _of(point), point.dist.version if point.dist else "") for point in mine]


def _see_new_folders() -> None:
    """An installation may be the first one there, or make links that are read at the start of an interpreter alone."""
    import site

    for name in ("purelib", "platlib"):
        site.addsitedir(sysconfig.get_path(name))


def _of(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""


def _is_it(point: metadata.EntryPoint, package: str) -> bool:
    """Whether a plugin came with this package: by its name, or by the path that the installer wrote down."""
    if point.dist is None:
        return False
    found = NAME.match(package)
    if not Path(package).exists():
        return found is not None and _normal(point.dist.name) == _normal(found[0])
    if package.endswith(".whl"):
        return _normal(point.dist.name) == _normal(Path(package).name.partition("-")[0])
    origin = point.dist.read_text("direct_url.json") or ""
    return Path(package).as_uri() in origin


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@contextlib.contextmanager
def _constraints() -> Iterator[Path]:
    """The versions of all that the host needs, and of what that needs, as a file for the installer."""
    with tempfile.TemporaryDirectory(prefix="sensorium-") as folder:
        file = Path(folder, "constraints.txt")
        lines = [f"{name}=={version}" for name, version in sorted(_needs(SELF).items()) if name != SELF]
        file.write_text("\n".join(lines), encoding="utf-8")
        yield file


def _needs(root: str) -> dict[str, str]:
    """Names and versions of what is installed and a package needs, extras included."""
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        name = _normal(waiting.pop())
        with contextlib.suppress(metadata.PackageNotFoundError):
            if name not in found:
                found[name] = metadata.version(name)
                lines = metadata.requires(name) or ()
                waiting += [match[0] for line in lines if (match := NAME.match(line))]
    return found


# -- into an environment of its own ---------------------------------------------------------------------------------


def _install_apart(package: str, isolated: Isolated) -> list[Installed]:
    isolated.link_contract()
    home = Home(Path(tempfile.mkdtemp(prefix=".new-", dir=isolated.folder)))
    try:
        _make_environment(home, isolated)
        _run(_command(home.python, "install", package), f"{package} was not installed")
        found = metadata.distributions(path=[str(home.site)])
        mine = [one.name for one in found if one.entry_points.select(group=GROUP)]
        if not mine:
            raise HostError(f"{package} has no plugin.", _no_plugin())
        name = next((one for one in mine if _is_named(one, package)), mine[0])
        plugins = _described(home, isolated, name)
        place, old = isolated.folder / _normal(name), home.folder.with_name(f".old-{home.folder.name}")
        if place.exists():
            place.replace(old)
        home.folder.replace(place)
        shutil.rmtree(old, ignore_errors=True)
        return plugins
    finally:
        shutil.rmtree(home.folder, ignore_errors=True)


def _make_environment(home: Home, isolated: Isolated) -> None:
    """A new environment that has nothing but the contract, behind all that will be installed there."""
    venv.create(home.folder / "venv", with_pip=util.find_spec("pip") is None, symlinks=True)
    contract = os.path.relpath(isolated.folder / "contract", home.site)  # so that the data folder may be moved
    (home.site / "sensorium_contract.pth").write_text(f"{contract}\n", encoding="utf-8")


def _is_named(distribution: str, package: str) -> bool:
    found = NAME.match(Path(package).name.partition("-")[0] if package.endswith(".whl") else package)
    return found is not None and _normal(distribution) == _normal(found[0])


def _described(home: Home, isolated: Isolated, distribution: str) -> list[Installed]:
    """What the new plugins are. Raises HostError where one cannot work, or another has its name."""
    others = {
        point.name: _of(point)
        for point in entry_points(isolated)
        if _normal(_of(point)) != _normal(distribution) or isolated.home_of(point) is None
    }
    versions = {one.name: one.version for one in metadata.distributions(path=[str(home.site)])}
    try:
        said = home.ask({})
    except InvalidPlugin as error:
        raise HostError(f"{distribution} was not installed: {error.message}", error.hint) from error
    found = []
    for one in said:
        if one["name"] in others:
            advice = f"`sensorium plugin uninstall {others[one['name']]}` first."
            raise HostError(f"{others[one['name']]} has a plugin called {one['name']} already.", advice)
        if "error" in one:
            raise HostError(f"{distribution} was not installed, for {one['name']} cannot be used: {one['error']}")
        notes = [f"its {hook} is not called: that runs in the host's own process" for hook in one["host_hooks"]]
        found.append(Installed(one["name"], distribution, versions.get(distribution, ""), tuple(notes)))
    return found


# -- the installer --------------------------------------------------------------------------------------------------


def _command(python: Path, verb: str, *arguments: str) -> list[str]:
    """The command line of pip, or of uv where there is no pip, for an environment."""
    if util.find_spec("pip") is not None:
        other = [] if python == Path(sys.executable) else ["--python", str(python)]
        yes = ["--yes"] if verb == "uninstall" else []
        return [sys.executable, "-m", "pip", *other, "--disable-pip-version-check", verb, *yes, *arguments]
    if (python.parent / "pip").exists():
        return [str(python), "-I", "-m", "pip", "--disable-pip-version-check", verb, *arguments]
    if uv := shutil.which("uv"):
        return [uv, "pip", verb, "--python", str(python), *arguments]
    raise HostError("There is neither pip nor uv to install with.", "`python -m ensurepip` brings pip.")


def _run(command: Iterable[str], failure: str, hint: str = "") -> None:
    """Run the installer, without what the host's own environment says to Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(list(command), env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise HostError(f"{failure}: {' '.join(lines[-3:]) or 'the installer gave no reason'}".rstrip("."), hint)


def _no_plugin() -> str:
    return f"A package with a plugin has an entry point in the group `{GROUP}`; see docs/plugins."

"""`sensorium new-plugin`: what it writes works as it is, and it writes nothing where that would do harm."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from host.cli.new_plugin import LONGEST, EventKind, module_of, package
from host.errors import UsageError

ROOT = Path(__file__).parents[3]
# The other plugins of pytest that are installed here are none that a plugin's author has.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
FREE = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    """The interpreter of a new virtual environment that sees what is installed in this one."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    installed = [path for path in sys.path if path.endswith("-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in installed]
    (site / "shared.pth").write_text("\n".join([*lines, str(ROOT)]) + "\n")
    return folder / "bin" / "python"


def run(python: Path, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [str(python), "-m", *words], cwd=folder, env={**FREE, **ALONE}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("kind", "options"), [("data", ()), ("image", ("--model",))])
def test_a_new_plugin_is_installed_passes_its_own_tests_unchanged_and_is_found_by_the_host(
    cli, here, venv, kind, options
):
    name = f"tried-{kind}"
    ended = cli("new-plugin", name, "--kind", kind, *options)
    assert ended.code == 0, ended.err
    assert f"cd sensorium-{name}" in ended.out
    folder = here / f"sensorium-{name}"
    install = ("install", "--quiet", "--no-index", "--no-build-isolation", "--editable", str(folder))
    run(Path(sys.executable), here, "pip", "--python", str(venv), *install)
    passed = run(venv, folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(r"^[45] passed", passed, re.MULTILINE), passed
    found = {one["name"]: one for one in json.loads(run(venv, here, "host", "plugins", "--json"))}
    assert (found[name]["distribution"], found[name]["problem"]) == (f"sensorium-{name}", "")
    assert found[name]["hooks"].count(f"on_{kind}") == 1


def test_what_is_written_for_every_kind_does_what_its_test_says(cli, here, tmp_path):
    """All but a whole host and the conformance check, which the test above runs."""
    chosen = [*((kind, "--no-model") for kind in EventKind), ("text", "--model"), ("video", "--model")]
    folders = []
    for kind, model in chosen:
        name = f"made-{kind}{model.replace('-', '')}"
        assert cli("new-plugin", name, "--kind", kind, model, "--json").code == 0
        folders.append(here / f"sensorium-{name}")
    path = os.pathsep.join(str(folder / "src") for folder in folders)
    options = ("-q", "-k", "not host", "-p", "hooks.testing.fixtures", "-p", "no:cacheprovider", f"--rootdir={here}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--import-mode=importlib", *map(str, folders)],
        cwd=here, env={**FREE, **ALONE, "PYTHONPATH": path}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert f"{6 * 2 + 2 * 3} passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("kind", EventKind)
@pytest.mark.parametrize("with_model", [False, True])
def test_a_package_is_whole(kind, with_model):
    files = package("night-watch", kind.value, with_model=with_model)
    assert not [path for path, content in files.items() if "@@" in content or not content.endswith("\n")]
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["entry-points"]["sensorium"] == {"night-watch": "sensorium_night_watch"}
    assert project["project"]["dependencies"][0].startswith("sensorium>=")
    assert "sensorium plugin check night-watch" in files[".github/workflows/test.yml"]
    code = files[f"src/{module_of('night-watch')}/__init__.py"]
    compile(code, "plugin", "exec")
    assert f"def on_{kind}(" in code
    assert ("def load(" in code) is with_model
    assert len(code.splitlines()) <= 100


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Night Watch", "Take night-watch."),
        ("night_watch", "Take night-watch."),
        ("../evil", "Take evil."),
        ("-a", "Take a."),
        ("3d", "Take d."),
        ("a--b", "Take a-b."),
        ("x" * (LONGEST + 1), f"Take {'x' * LONGEST}."),
        ("", "Take one as night-watch."),
        ("日本", "Take one as night-watch."),
        ("metadata", "Take another name."),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_a_better_one(cli, here, name, advice):
    ended = cli("new-plugin", "--", name)
    assert ended.code == UsageError.exit_code
    assert advice in ended.err
    assert list(here.iterdir()) == []


def test_what_is_there_is_never_touched(cli, here):
    (here / "sensorium-mine").mkdir()
    (here / "sensorium-mine" / "precious").write_text("work of years")
    ended = cli("new-plugin", "mine")
    assert ended.code == UsageError.exit_code
    assert "is there already" in ended.err
    assert [path.name for path in here.rglob("*")] == ["sensorium-mine", "precious"]
    (here / "sensorium-link").symlink_to(here / "nowhere")
    assert cli("new-plugin", "link").code == UsageError.exit_code
    assert not (here / "nowhere").exists()


def test_a_folder_that_is_not_there_or_a_file_is_no_place(cli, here):
    (here / "file").write_text("")
    assert "There is no folder" in cli("new-plugin", "mine", "--into", "nowhere").err
    assert "There is no folder" in cli("new-plugin", "mine", "--into", "file").err
    assert [path.name for path in here.iterdir()] == ["file"]

"""Follows docs/plugins/tutorial.md to the letter, in a new virtual environment; prints each command and its time.

The environment is new, but nothing is fetched: it finds Sensorium and what that needs where this interpreter finds
them, and pip builds with the setuptools that is there. So the time is without the download of Sensorium itself.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.reference.blocks import ROOT, Block, blocks_of

PAGE = ROOT / "docs" / "plugins" / "tutorial.md"
PROGRAMS = {"sensorium": "host.__main__:main", "pytest": "pytest:console_main", "pip": "pip._internal.cli.main:main"}
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
SAID = "\x1e"  # begins the lines that are ours, not a command's


@dataclass
class Followed:
    """What came of it: the commands with their seconds, all that they printed, and the exit code of the last one."""

    commands: list[tuple[str, float]] = field(default_factory=list)
    output: str = ""
    code: int = 0

    @property
    def seconds(self) -> float:
        """For all commands together."""
        return sum(seconds for _, seconds in self.commands)


def follow(folder: Path) -> Followed:
    """Do everything that the page says, in `folder`; a command that fails is the last one."""
    programs = environment(folder / "venv")
    place = folder / "place"
    place.mkdir()
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    known = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    shell = subprocess.Popen(
        ["bash", "-c", script()], cwd=place, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**known, **OFFLINE, "PATH": path, "HOME": str(folder), "COLUMNS": "120"},
    )  # fmt: skip
    assert shell.stdout is not None
    found = Followed()
    began = time.monotonic()
    for line in shell.stdout:
        if line.startswith(SAID):
            now = time.monotonic()
            found.commands.append((line[1:].rstrip("\n"), now - began))
            began = now
        else:
            found.output += line
    found.code = shell.wait()
    return found


def environment(folder: Path) -> Path:
    """Make a virtual environment that has what a `pip install sensorium` would bring; where its programs lie."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    shared = [path for path in sys.path if path.endswith("-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in shared]
    (site / "sensorium.pth").write_text("\n".join([*lines, str(ROOT)]) + "\n")
    programs = folder / "bin"
    for name, reference in PROGRAMS.items():
        module, _, function = reference.partition(":")
        code = f"#!{programs / 'python'}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        (programs / name).write_text(code)
        (programs / name).chmod(0o755)
    return programs


def script() -> str:
    """The page as one script: files are written, commands run, each told when it is done."""
    return "\n".join(["set -euo pipefail", *_lines(blocks_of("docs/plugins/tutorial.md", PAGE.read_text()))]) + "\n"


def _lines(blocks: list[Block]) -> Iterator[str]:
    for block in blocks:
        if block.how == "file":
            yield f"cat > {shlex.quote(block.what)} <<'END OF FILE'\n{block.code}END OF FILE"
        elif block.language == "sh" and block.how != "not run":
            for command in commands(block.code):
                yield command
                yield f"printf '\\x1e%s\\n' {shlex.quote(command)}"


def commands(code: str) -> list[str]:
    """The commands of a block: one a line, without remarks."""
    lines = (re.sub(r"\s+#\s.*$", "", line).strip() for line in code.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main() -> int:
    """Print what a reader wants to know; the exit code of the last command."""
    with tempfile.TemporaryDirectory() as folder:
        found = follow(Path(folder))
    for command, seconds in found.commands:
        print(f"{seconds:6.1f} s  $ {command}")
    if found.code:
        print(f"\nThe next command ended with {found.code}:\n{found.output[-3000:]}", file=sys.stderr)
        return found.code
    print(f"\n{len(found.commands)} commands, {found.seconds:.0f} s; reading and typing come on top.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

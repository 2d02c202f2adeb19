"""What a plugin writes outside of its scratch folder is told, once for each place, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = """
import json, os, sys
from pathlib import Path
from hooks.outside import Outside
scratch, elsewhere = map(Path, sys.argv[1:3])
outside = Outside()
outside.allow(str(scratch))
outside.listen()
{body}
print(json.dumps(outside.take()))
"""


def told(root: Path, body: str) -> list[str]:
    """The places that are told of, from `elsewhere` on."""
    for name in ("scratch", "elsewhere", "tmp", "cache"):
        (root / name).mkdir()
    (root / "elsewhere" / "there").write_text("before")
    environment = {**os.environ, "TMPDIR": str(root / "tmp"), "XDG_CACHE_HOME": str(root / "cache")}
    command = [sys.executable, "-c", CHILD.format(body=body), str(root / "scratch"), str(root / "elsewhere")]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [os.path.relpath(place, root / "elsewhere") for place in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ("(elsewhere / 'new').write_text('a')", ["new"]),
        ("open(elsewhere / 'there', 'a').close()", ["there"]),
        ("os.close(os.open(elsewhere / 'new', os.O_CREAT | os.O_WRONLY))", ["new"]),
        ("os.rename(elsewhere / 'there', elsewhere / 'then')", ["there", "then"]),
        ("(elsewhere / 'there').unlink()", ["there"]),
        ("(elsewhere / 'folder').mkdir(); (elsewhere / 'folder').rmdir()", ["folder"]),
        ("(elsewhere / 'link').symlink_to(scratch)", ["link"]),
        ("os.symlink(elsewhere, scratch / 'door'); (scratch / 'door/new').write_text('a')", ["../scratch/door/new"]),
        ("for _ in range(3): (elsewhere / 'there').write_text('a')", ["there"]),
        ("for name in range(50): (elsewhere / str(name)).write_text('a')", [str(name) for name in range(20)]),
        ("(elsewhere / 'there').read_text(); os.listdir(elsewhere)", []),
        ("(scratch / 'a').mkdir(); (scratch / 'a' / 'b').write_text('a'); (scratch / 'a' / 'b').unlink()", []),
        ("import tempfile; tempfile.TemporaryFile().close(); open(os.devnull, 'w').close()", []),
        ("Path(os.environ['XDG_CACHE_HOME'], 'model').write_text('a')", []),
        ("os.chdir(elsewhere); open('new', 'w').close()", ["new"]),
    ],
)
def test_what_is_written_elsewhere_is_told(tmp_path, body, places):
    assert told(tmp_path, body) == places

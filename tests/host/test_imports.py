"""Nothing heavy in the host process: told by what a fresh interpreter has imported after a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

HEAVY = ("torch", "torchvision", "open_clip", "timm", "transformers", "llama_cpp", "faster_whisper", "onnxruntime")
ONLY_FOR_SEARCH = ("numpy", "hnswlib")

IMPORT = "import host.app"
RUN = """
import asyncio
from host.app import open_app
from host.config import Config

async def main():
    async with open_app(Config.model_validate(json.loads(sys.argv[1]))) as app:
        summary = await app.run(once=True)
        await app.status()
    assert (summary.done, summary.failed) == (1, 0), summary

asyncio.run(main())
"""
ASK = "import host.__main__; from host.cli import *; from host.app import open_app"


def imported(code: str, *arguments: str) -> set[str]:
    """The top-level names of what is imported when this code has run."""
    tail = "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", f"import json, sys\n{code}{tail}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_host_s_modules_import_nothing_heavy():
    for code in (IMPORT, ASK):
        assert imported(code).isdisjoint({*HEAVY, *ONLY_FOR_SEARCH, "PIL"})


def test_a_whole_run_with_the_plugins_that_come_with_it_imports_nothing_heavy(tmp_path: Path):
    (tmp_path / "inbox").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "inbox" / "red.png")
    config = {
        "paths": {"data": str(tmp_path / "data"), "outbox": str(tmp_path / "outbox")},
        "inbox": [{"path": str(tmp_path / "inbox"), "quiet": 0.05}],
        # clip is found and asked for its model; that it gets no picture spares the test a minute of loading
        "route": [{"plugin": "clip", "kinds": ["text"]}],
    }
    assert imported(RUN, json.dumps(config)).isdisjoint({*HEAVY, *ONLY_FOR_SEARCH})
    (result,) = json.loads((tmp_path / "outbox" / "red.png.json").read_text())["results"][:1]
    assert result["data"]["width"] == 40

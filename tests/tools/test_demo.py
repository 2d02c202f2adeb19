"""The demonstration, which is the first that a newcomer sees, ends well and finds what it drew and said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demonstration_finds_what_it_drew_and_said_and_a_doorbell_is_answered(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.demo import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    for first in ("red circle", "black cat", "red boat", "two black birds"):
        assert first in shown, shown
    best = {part.splitlines()[0].strip('" '): part.splitlines()[1] for part in shown.split("sensorium search")[1:]}
    assert "red-circle-left" in best["a red circle on the left"].replace(" ", "-"), best
    assert any(right in best["a black cat"] for right in ("cat", "film.mp4 00:00:12"))  # it is in the film, too
    assert "film.mp4 00:00:12" in best["what is the weather today"]
    assert "open the garden door" in shown
    assert (tmp_path / "demo" / "outbox" / "done.wav").read_bytes().startswith(b"RIFF")
    assert "sensorium/results/doorbell/clip" in shown
    assert "orange cat" in shown.partition("sensorium/response/clip")[2].splitlines()[0]

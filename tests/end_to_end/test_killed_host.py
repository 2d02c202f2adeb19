"""A killed host: its next start ends what is left before it grants anything."""

from __future__ import annotations

import psutil

from host import processes
from tests.end_to_end.host_process import Place, host, until
from tests.plugin_kit import install_plugin

# Its model is a process of its own session, which survives its worker; the text says where to write its number.
DETACHED = """
import subprocess, sys
from hooks import Caption, ModelSpec, hookimpl

CHILD = "x = bytearray(b'x') * (50 * 1024 * 1024); print(1, flush=True); import time; time.sleep(3600)"

@hookimpl
def model_spec(): return ModelSpec(name="detached", device="cpu", keep_alive=600)

@hookimpl
def load():
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.read(1)
    return child

@hookimpl
def on_text(events, model):
    for event in events:
        yield event.result(Caption(text=str(model.pid)))
"""


def children(place: Place) -> list[int]:
    """The numbers that the plugin's results tell, oldest first."""
    rows = place.rows("SELECT data FROM results ORDER BY id")
    return [int(row["data"].split('"')[3]) for row in rows]


def test_the_next_start_ends_what_a_killed_host_has_left_and_then_works(tmp_path):
    place = Place(tmp_path)
    install_plugin(place.site, "detached", DETACHED)
    with host(place) as first:
        (place.inbox / "a.txt").write_text("one")
        until((place.outbox / "a.txt.json").exists)
        first.kill()
        first.wait()
    (child,) = (psutil.Process(pid) for pid in children(place))
    assert processes.living([child]), "the child has outlived its host"
    with host(place):
        (place.inbox / "b.txt").write_text("two")
        until((place.outbox / "b.txt.json").exists)
        assert not processes.living([child])
    assert children(place)[1] != child.pid
    (left,) = (psutil.Process(pid) for pid in children(place)[1:])
    left.kill()

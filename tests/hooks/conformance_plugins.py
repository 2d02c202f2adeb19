"""Plugins for the conformance check: a good one, and some with every fault that it looks for."""

GOOD = '''
"""Says how long a text is."""
from pydantic import BaseModel, ConfigDict, Field
from hooks import *

api = ">=1,<2"

class Settings(BaseModel):
    """How it counts."""
    model_config = ConfigDict(extra="forbid")
    most: int = Field(1_000_000, description="Longer texts are refused.")

class Length(ResultData):
    type = "length"
    characters: int

@hookimpl
def settings_class(): return Settings

@hookimpl
def on_text(events, settings):
    for event in events:
        content = event.open().read(settings.most + 1)
        if not content: yield event.failure("empty")
        elif len(content) > settings.most: raise BadInput("too long")
        else: yield event.result(Length(characters=len(content.decode(errors="replace"))))
'''
# Each deed is one that the check must find by itself.
SINNER = """
import itertools, os
import numpy
from hooks import *

class Caption2(ResultData):
    type = "caption"
    text: float

state = []
sizes = itertools.count(50)

@hookimpl
def model_spec(): return ModelSpec(name="sinner", memory_mb=next(sizes), device="cpu")
@hookimpl
def identify(head, name): return head[0]
@hookimpl
def load(): return "model"
@hookimpl
def unload(model): raise RuntimeError("no")

@hookimpl
def on_text(events):
    for event in events:
        content = event.open().read()
        if "broken" in event.name: state.append(1)
        if "empty" in event.name: raise KeyError("nothing there")
        if "huge" in event.name: os._exit(7)
        yield event.result(Caption2(text=float("nan")))
        if state: yield event.result(Caption(text="not myself any more"))
"""
LEAKER = """
import subprocess, sys
from hooks import *

api = ">=1,<2"
kept = []

@hookimpl
def model_spec(): return ModelSpec(name="leaker", memory_mb=40, device="cpu")

@hookimpl
def load():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

@hookimpl
def on_text(events):
    for event in events:
        kept.append(b"x" * 5_000_000)
        if "huge" in event.name: kept.append(b"x" * 500_000_000)
        yield event.result(Caption(text=event.name[:1]))
"""

"""The kit for plugin authors: events of real files, a plugin at work in a real worker, a lease with memory to set.

For the pytest fixtures (`events`, `lease`, `host`) say `pytest_plugins = ["hooks.testing.fixtures"]` in the outermost
conftest.py, or `addopts = ["-p", "hooks.testing.fixtures"]` in pyproject.toml. Nothing is switched on by itself.
"""

from hooks.testing.conformance import check_plugin
from hooks.testing.events import EventFactory, event_of
from hooks.testing.host import HostFailed, TemporaryHost
from hooks.testing.lease import FakeLease
from hooks.testing.report import Check, Report
from hooks.testing.run import Given, Made, PluginFailed, Run, run_plugin
from hooks.testing.worker_client import WorkerClient, WorkerGone

__all__ = [
    "Check",
    "EventFactory",
    "FakeLease",
    "Given",
    "HostFailed",
    "Made",
    "PluginFailed",
    "Report",
    "Run",
    "TemporaryHost",
    "WorkerClient",
    "WorkerGone",
    "check_plugin",
    "event_of",
    "run_plugin",
]

"""Fixtures that every test may ask for, and where libraries put what they would leave in /tmp."""

import os

import pytest

from tests.plugin_kit import plugin_path

__all__ = ["plugin_path"]


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give torch's compiler and espeak-ng's PulseAudio a place in pytest's own folder, and have onnxruntime be silent.

    Workers inherit that. The compiler makes its folder when a test module imports it, which no fixture comes before.
    """
    factory: pytest.TempPathFactory = config._tmp_path_factory
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.environ["PULSE_RUNTIME_PATH"] = str(factory.mktemp("libraries"))
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

"""Fixtures that every test may ask for, and where libraries put what they would leave in /tmp."""

import os
from tempfile import TemporaryDirectory

import pytest

from tests.plugin_kit import plugin_path

__all__ = ["plugin_path"]


def pytest_configure(config: pytest.Config) -> None:
    """Give torch's compiler and espeak-ng's PulseAudio a folder that goes with this run; their workers inherit it."""
    folder = TemporaryDirectory(prefix="sensorium-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.environ["PULSE_RUNTIME_PATH"] = folder.name

"""Fixtures that every test may ask for, and where libraries put what they would leave in /tmp."""

import os
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from tests.plugin_kit import plugin_path

__all__ = ["plugin_path"]


# How long an example takes says more of the machine than of the code. Where CI is set, they are the same each time.
settings.register_profile(
    "sensorium", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("sensorium")


def pytest_configure(config: pytest.Config) -> None:
    """Give torch's compiler and espeak-ng's PulseAudio a folder that goes with this run; their workers inherit it."""
    folder = TemporaryDirectory(prefix="sensorium-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.environ["PULSE_RUNTIME_PATH"] = folder.name

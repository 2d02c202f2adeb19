"""Simulated time, for the benches; the host's own plans use it, too."""

from host.leasing.simulated_time import SimulatedLoop, simulate

__all__ = ["SimulatedLoop", "simulate"]

"""The named steps of an arrival's way through the host: whoever observes them may end the process at any of them."""

from collections.abc import Callable

STEPS = (
    "claimed",
    "hashed",
    "in library",
    "committed",
    "before unlink",
    "after unlink",
    "worker busy",
    "results committed",
    "before sidecar",
    "sidecar written",
)

FAMILY_STEPS = ("derived in library",)
"""Steps of those arrivals alone of which plugins make further events."""

PLUGIN_STEPS = ("handed over", "safe", "told")
"""Steps of what plugins bring in or are told: the first two of each arrival of theirs, the last of each delivery."""

Observe = Callable[[str], None]
"""Told each step by name, from the event loop's thread or another; nothing happens before it returns."""

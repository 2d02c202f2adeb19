"""The host's own errors; what plugins raise is in `hooks.errors`. The number is the command line's exit code.

SensoriumError
└── HostError                1
    ├── UsageError           2   the command cannot be done as it was typed
    ├── ConfigError          3   config.toml, with file, line and the nearest valid name
    ├── AlreadyRunning       4   another host has the data directory
    ├── NotFound             5   no such file, event or plugin is known
    ├── WorkFailed           6   the host ran, but some of what was asked for failed
    ├── JournalError         7   the journal cannot be opened or written
    └── LibraryError         8   the library cannot be written
"""

from typing import Literal

from hooks.errors import SensoriumError

# Why a job failed, as the sidecar, MQTT and every `--json` say it; docs/troubleshooting.md says what to do about each.
FailureCode = Literal[
    "bad_input", "unavailable", "invalid_plugin", "out_of_memory", "exception",  # said by the plugin
    "died", "time_limit", "lost", "in_use", "never_fits", "gone", "ended",  # seen by the host
]  # fmt: skip
# Why a request over MQTT has no answer.
RequestCode = Literal["bad_request", "not_found", "failed", "expired"]


class HostError(SensoriumError):
    """Something that the host cannot do; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(HostError):
    """The command cannot be done as it was typed."""

    exit_code = 2


class ConfigError(HostError):
    """The configuration is not valid."""

    exit_code = 3


class AlreadyRunning(HostError):
    """Another host works with the same data directory."""

    exit_code = 4


class NotFound(HostError):
    """What was asked about is not in the journal."""

    exit_code = 5


class WorkFailed(HostError):
    """The work was done, and some of it failed."""

    exit_code = 6


class JournalError(HostError):
    """The journal cannot be opened, read or written; `passing` when the same may succeed later (a full disk)."""

    exit_code = 7

    def __init__(self, message: str, hint: str = "", *, passing: bool = False) -> None:
        super().__init__(message, hint)
        self.passing = passing


class LibraryError(HostError):
    """The library cannot be written."""

    exit_code = 8

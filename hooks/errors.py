"""The errors that plugins raise and the host understands.

SensoriumError
├── BadInput           the content is at fault: its job fails at once and is never tried again
├── ModelUnavailable   a file or a package that the model needs is not there: says what to put where
├── OutOfMemory        the model does not fit just now: the host makes room and tries again
├── InvalidPlugin      a plugin breaks the contract: names the plugin and the hook
└── WireError          the other side of a socket sent something that is not a message
"""


class SensoriumError(Exception):
    """What is wrong and where (`message`), and what would put it right (`hint`, may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class BadInput(SensoriumError):
    """The content cannot be worked on, now or later."""


class ModelUnavailable(SensoriumError):
    """Something that the model is made of is missing on this machine."""


class OutOfMemory(SensoriumError):
    """The device has no room for what was asked."""


class InvalidPlugin(SensoriumError):
    """A plugin does not keep to the contract of `hooks.hookspecs`."""


class WireError(SensoriumError):
    """A frame that cannot be read: the connection it came from is of no further use."""

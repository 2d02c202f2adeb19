"""The log: readable on a terminal, JSON lines elsewhere, and always in a file that cannot grow without bound.

Until `start_logging` is called nothing is written and structlog is not imported: most commands never log.
"""

from __future__ import annotations

import logging
import re
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

FILE_BYTES = 5_000_000
OLD_FILES = 4
# Each speaks of its own insides at the lower levels.
QUIET = ("aiosqlite", "asyncio", "PIL", "watchdog")
# Controls (C0, C1), direction marks and separators: what can steer a terminal or fake a line; and half characters.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class Logger:
    """Says what happened, with the facts as keywords: `log.info("model loaded", seconds=2)`."""

    __slots__ = ("_name",)
    _started = False

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: Any) -> None:
        self._log("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._log("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._log("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._log("error", event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """As `error`, with the traceback of the exception that is being handled."""
        self._log("error", event, {"exc_info": True, **facts})

    def _log(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if Logger._started:
            import structlog

            getattr(structlog.stdlib.get_logger(self._name), level)(event, **facts)


def get_logger(name: str) -> Logger:
    """The logger of a module; cheap, and silent until `start_logging`."""
    return Logger(name)


def start_logging(level: str, file: Path | None, *, terminal: bool = True) -> None:
    """Log to `file` and, with `terminal`, to standard error, from `level` on; what was started before is replaced."""
    stop_logging()
    import structlog

    handlers: list[logging.Handler] = []
    if terminal:
        handlers.append(_Stderr())
        handlers[-1].setFormatter(_readable() if sys.stderr.isatty() else _json())
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(RotatingFileHandler(file, maxBytes=FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8"))
        handlers[-1].setFormatter(_json())
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    logging.raiseExceptions = False  # a full disk must not fill the terminal too
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_facts(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    Logger._started = True


def stop_logging() -> None:
    """Close the file and write nothing more."""
    if Logger._started:
        logging.basicConfig(handlers=[logging.NullHandler()], force=True)
        Logger._started = False


def printable(text: str) -> str:
    r"""The text with everything that could steer a terminal as an escape: `\n`, `\x1b`, `\u202e`, `\xff`."""
    return UNSAFE.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode()


def _facts() -> list[Any]:
    import structlog

    return [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name]


def _json() -> logging.Formatter:
    import structlog

    return _formatter(structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer(default=str))


def _readable() -> logging.Formatter:
    import structlog

    render = structlog.dev.ConsoleRenderer(pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)
    return _formatter(structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), _safe, render)


def _formatter(*processors: Any) -> logging.Formatter:
    import structlog

    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(
        processors=[clean, structlog.processors.format_exc_info, *processors], foreign_pre_chain=_facts()
    )


def _safe(_logger: Any, _method: str, facts: dict[str, Any]) -> dict[str, Any]:
    """File names and models' words are data: they never steer the terminal that shows the log."""
    return {key: _safe_value(value, lines=key == "exception") for key, value in facts.items()}


def _safe_value(value: Any, *, lines: bool) -> Any:
    if isinstance(value, (int, float)) or value is None:
        return value
    text = str(value)
    return "\n".join(printable(line) for line in text.split("\n")) if lines else printable(text)


class _Stderr(logging.Handler):
    """Standard error as it is when a line is written: a progress display may have taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):  # the terminal is gone, or the stream closed: the file has the line
            self.handleError(record)

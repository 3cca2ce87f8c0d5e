"""Logging: one line per record on stderr, for people or as JSON. What was read as a secret is never in it."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

import orjson

from schemas.base import format_timestamp

if TYPE_CHECKING:
    from service.settings import LogSettings

MASK: Final = "**********"
_MIN_SECRET: Final = 6
"""Shorter than this a secret is a word: masking it everywhere would only make the log unreadable."""
_hidden: set[str] = set()
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Final = {
    # httpx logs every URL at INFO, and a Slack webhook's URL is its secret.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    # Both say at INFO what our own lines already say, and at every poll.
    "aiokafka": logging.WARNING,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
}


def hide(secret: str) -> str:
    """Mask `secret` in every line logged from now on, tracebacks included. Returns it."""
    if len(secret) >= _MIN_SECRET:
        _hidden.add(secret)
    return secret


def masked(text: str) -> str:
    """`text` with every hidden secret replaced."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


class TextFormatter(logging.Formatter):
    """`2026-01-31T14:07:30.250Z INFO    service.ingest.app: message`."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        if extras := _extras(record):
            text += " " + " ".join(f"{key}={value}" for key, value in extras.items())
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return masked(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, what was given as `extra`, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return masked(orjson.dumps(line, default=str).decode())


def configure(log: LogSettings, stream: IO[str] | None = None) -> None:
    """Send the root logger's records to `stream` (stderr), replacing what was configured before."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log.format == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(log.level)
    logging.captureWarnings(True)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level) if log.level != "DEBUG" else logging.INFO)
    # … whatever the level: a URL that holds a secret we were never told of must not be logged either.
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return format_timestamp(datetime.fromtimestamp(round(record.created, 3), UTC))


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OWN_FIELDS}

"""One run of the command line: its settings, its output, and how its errors reach a person."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from typer.core import TyperGroup

from service.errors import TidegateError
from service.runtime import logs
from service.runtime.process import say
from service.settings import LogSettings, Settings
from service.settings_sources import Loaded, load

_T = TypeVar("_T")
INTERRUPTED = 130


class Invocation:
    """What the global options said. Settings are read when a command needs them: most need none."""

    def __init__(self, settings_file: Path | None) -> None:
        self.settings_file = settings_file

    @cached_property
    def loaded(self) -> Loaded:
        """Settings and their origins. Raises SettingsError."""
        logs.configure(LogSettings())
        found = load(self.settings_file)
        logs.configure(found.settings.log)
        return found

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run one short piece of work that talks to the broker. Raises TidegateError."""
        from service.kafka import KafkaError, unavailable

        if self.settings.log.level != "DEBUG":
            # Whatever aiokafka logs about a failure, the error that follows says it once and in full.
            logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        try:
            return asyncio.run(work)
        except KafkaError as error:
            raise unavailable(error, self.settings.kafka) from error


def invocation(context: typer.Context) -> Invocation:
    """The invocation that a command runs in."""
    found = context.find_object(Invocation)
    assert found is not None, "set by the root callback"
    return found


class Commands(TyperGroup):
    """The root: an error a person can understand is one line on stderr and its exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TidegateError as error:
            say(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # `tidegate tail … | head` is no error; nothing more can be written, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line on stderr."""
    sys.stderr.write(f"tidegate: {message}\n")
    raise typer.Exit(code)


def printable(text: str, limit: int | None = None) -> str:
    """`text` with control characters as escapes: what comes off a topic must not drive the terminal."""
    shown = text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)

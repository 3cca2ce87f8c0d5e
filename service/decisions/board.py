"""The limits in force as one document with a tag, and waiting until it is another."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Final, Literal, NamedTuple

import orjson

from schemas.base import Record
from schemas.budgets import BudgetSnapshot
from schemas.throttles import ThrottleCommand
from service.decisions.watched import Watched

Part = Literal["all", "commands", "budgets"]
PARTS: Final[tuple[Part, ...]] = ("all", "commands", "budgets")

_GATHER_S: Final = 0.02
"""Changes that come together (many, when the feed catches up) are one."""
_MAX_WRITTEN: Final = 20_000


class Sheet(NamedTuple):
    """A document, and the tag that says it is this one: of its content, so that two processes agree on it."""

    body: bytes
    tag: str


class Board:
    """Used on one loop, but for `changed`."""

    def __init__(self, gate: Watched, loop: asyncio.AbstractEventLoop) -> None:
        self._gate = gate
        self._loop = loop
        self._sheets: dict[Part, Sheet] = {}
        self._written: dict[str, tuple[Record, bytes]] = {}
        self._change = asyncio.Event()
        self._gathering = False
        self._stale = gate.stale
        self._closed = False
        self.waiting = 0

    def changed(self) -> None:
        """Limits may have changed. From any thread; nothing when the loop has ended."""
        if not self._gathering and not self._loop.is_closed():
            self._gathering = True
            self._loop.call_soon_threadsafe(self._loop.call_later, _GATHER_S, self._wake)

    def look(self) -> None:
        """Nobody tells when the feed goes silent: look from time to time."""
        if self._gate.stale != self._stale:
            self._wake()

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._wake()

    def sheet(self, part: Part) -> Sheet:
        """What is in force now."""
        found = self._sheets.get(part)
        if found is None:
            found = self._sheets[part] = self._write(part)
        return found

    async def another(self, part: Part, tags: frozenset[str], timeout_s: float) -> Sheet | None:
        """The document as soon as it has none of these tags; None if it still has after so many seconds."""
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while (sheet := self.sheet(part)).tag in tags and not self._closed:
                    await self._change.wait()
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1
        return None if sheet.tag in tags else sheet

    def _wake(self) -> None:
        self._gathering = False
        self._stale = self._gate.stale
        self._sheets.clear()
        self._change.set()
        self._change = asyncio.Event()

    def _write(self, part: Part) -> Sheet:
        document: dict[str, object] = {"stale": self._stale}
        if part in ("all", "commands"):
            document["commands"] = [self._once(f"c {c.scope.key}", c) for c in self._gate.commands()]
        if part in ("all", "budgets"):
            document["budgets"] = [self._once(f"b {b.budget}", b) for b in self._gate.budgets()]
        body = orjson.dumps(document)
        return Sheet(body, sha256(body).hexdigest()[:32])

    def _once(self, key: str, record: ThrottleCommand | BudgetSnapshot) -> orjson.Fragment:
        """A record as JSON, written once: most are the same in the next document."""
        known = self._written.get(key)
        if known is None or known[0] is not record:
            if len(self._written) > _MAX_WRITTEN:
                self._written.clear()
            known = self._written[key] = (record, record.to_json())
        return orjson.Fragment(known[1])

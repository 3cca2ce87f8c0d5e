"""Slack's Web API on this machine, as far as a bot posts: messages that can be edited, threads, errors, rates.

Written from Slack's documents and not from service.notify, which must stand up to it. No I/O: a request in, an
answer out; `service.demo.receivers` serves it. Source: docs.slack.dev, "chat.postMessage", "chat.update", "Rate
limits".
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from service.demo import vendor_rules
from service.runtime.clock import Clock

PATH: Final = "/api/"
METHODS: Final = ("chat.postMessage", "chat.update")
UPDATES_A_MINUTE: Final = 50


@dataclass(slots=True)
class Message:
    """One message of the channel, or of a thread, as it is now."""

    ts: str
    body: dict[str, Any]
    thread_ts: str | None = None
    edits: int = 0


@dataclass(slots=True)
class Answer:
    """What a request is answered with. `complaints`: breaches of the rules."""

    body: dict[str, Any]
    status: int = 200
    retry_after: str | None = None
    complaints: list[str] = field(default_factory=list)


class SlackApi:
    """One workspace with one channel.

    Attributes
    ----------
    messages : list of Message
        In the order in which they were posted, replies included.
    """

    def __init__(self, clock: Clock, interval_s: float = 1.0) -> None:
        """`interval_s`: messages to a channel that are closer together get a 429."""
        self.token: Final = f"xoxb-{secrets.token_hex(12)}"
        self.channel: Final = f"C{secrets.token_hex(5).upper()}"
        self.messages: list[Message] = []
        self._clock = clock
        self._interval_s = interval_s
        self._last: float | None = None
        self._updates: list[float] = []
        self._lock = threading.Lock()
        self._posted = 0

    def incidents(self) -> list[Message]:
        """Messages of the channel itself."""
        with self._lock:
            return [message for message in self.messages if message.thread_ts is None]

    def thread(self, ts: str) -> list[Message]:
        """Replies to one message."""
        with self._lock:
            return [message for message in self.messages if message.thread_ts == ts]

    def delete(self, ts: str) -> None:
        """Somebody deletes a message."""
        with self._lock:
            self.messages = [message for message in self.messages if message.ts != ts]

    def call(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request. `headers` by lower-case name."""
        method = path.removeprefix(PATH)
        if method not in METHODS:
            return _error("unknown_method")
        if headers.get("authorization") != f"Bearer {self.token}":
            return _error("invalid_auth")
        if complaints := vendor_rules.slack(body, headers.get("content-type", "")):
            return _error("invalid_blocks", complaints)
        said = orjson.loads(body)
        if said.get("channel") != self.channel:
            return _error("channel_not_found")
        with self._lock:
            if self._too_fast(method):
                return Answer({"ok": False, "error": "ratelimited"}, 429, "1")
            return self._post(said) if method == "chat.postMessage" else self._update(said)

    def _too_fast(self, method: str) -> bool:
        now = self._clock.monotonic()
        if method == "chat.update":
            self._updates = [at for at in self._updates if now - at < 60]
            self._updates.append(now)
            return len(self._updates) > UPDATES_A_MINUTE
        if self._last is not None and now - self._last < self._interval_s:
            return True
        self._last = now
        return False

    def _find(self, ts: object) -> Message | None:
        return next((message for message in self.messages if message.ts == ts), None)

    def _post(self, said: dict[str, Any]) -> Answer:
        thread_ts = said.get("thread_ts")
        if thread_ts is not None and self._find(thread_ts) is None:
            return _error("thread_not_found", ["a reply to a message that is not there"])
        if "ts" in said:
            return _error("invalid_arguments", ["ts is given by Slack"])
        self._posted += 1
        ts = f"{int(self._clock.now().timestamp())}.{self._posted:06}"
        self.messages.append(Message(ts, said, thread_ts))
        return Answer({"ok": True, "channel": self.channel, "ts": ts, "message": said})

    def _update(self, said: dict[str, Any]) -> Answer:
        found = self._find(said.get("ts"))
        if found is None:
            return _error("message_not_found")
        found.body, found.edits = said, found.edits + 1
        return Answer({"ok": True, "channel": self.channel, "ts": found.ts, "text": said["text"]})


def _error(name: str, complaints: list[str] | None = None) -> Answer:
    return Answer({"ok": False, "error": name}, complaints=complaints or [])

"""Delivery by one Slack app to one channel: a message for each incident, kept up to date, and its thread."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple
from typing import Final as Constant

import httpx
import orjson

from service.notify.http import Answer, post, refusal
from service.notify.notification import Change, Notification
from service.notify.receiver import Delivered, Failure, Final, Result, Retry
from service.notify.slack_bot.render import message, reply
from service.notify.text import clean, fit
from service.runtime.clock import Clock

INTERVAL_S: Constant = 1.2
"""`chat.postMessage` takes one message a second for a channel, `chat.update` some 50 a minute."""
MAX_ANSWER_BYTES: Constant = 131_072
"""Slack answers with the whole message as it understood it."""
_PASSING: Constant = frozenset(
    {
        "fatal_error",
        "internal_error",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
        "accesslimited",
    }
)
"""Errors that go away by themselves; all others are the installation's to mend."""
_GONE: Constant = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
"""What was said cannot be edited any more: somebody deleted it, or the workspace forbids it by now."""

Method = Literal["chat.postMessage", "chat.update"]


class Posted(NamedTuple):
    """Where a message is: together the name that Slack has for it."""

    channel: str
    ts: str

    def __str__(self) -> str:
        return f"{self.channel}/{self.ts}"

    @classmethod
    def read(cls, reference: str | None) -> Posted | None:
        """None: it is no name of ours."""
        channel, _, ts = (reference or "").partition("/")
        return cls(channel, ts) if channel and ts else None


class SlackBot:
    """One app in one channel. Its token is a secret.

    Of an incident that is told already the message is updated first, which may be repeated, and then replied to in
    its thread. When the reply fails both are tried again.
    """

    vendor = "slack_bot"
    concurrency = 1
    wants = frozenset(Change)

    def __init__(
        self,
        client: httpx.AsyncClient,
        token: str,
        channel: str,
        *,
        base_url: str,
        timeout_s: float,
        clock: Clock,
        buttons: bool = True,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._token = token
        self._channel = channel
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock
        self._buttons = buttons

    async def send(self, notification: Notification) -> Result:
        known = Posted.read(notification.reference)
        if known is None:
            return await self._post(notification)
        body = message(notification, known.channel, known.ts, buttons=self._buttons)
        updated = await self._call("chat.update", body)
        if isinstance(updated, Final) and updated.detail in _GONE:
            return await self._post(notification)
        if not isinstance(updated, Posted):
            return updated
        replied = await self._call("chat.postMessage", reply(notification, known.channel, known.ts))
        return Delivered(str(known)) if isinstance(replied, Posted) else replied

    async def _post(self, notification: Notification) -> Result:
        body = message(notification, self._channel, buttons=self._buttons)
        posted = await self._call("chat.postMessage", body)
        return Delivered(str(posted)) if isinstance(posted, Posted) else posted

    async def _call(self, method: Method, body: bytes) -> Posted | Retry | Final:
        answer = await post(
            self._client,
            f"{self._base_url}/{method}",
            content=body,
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json; charset=utf-8",
            },
            timeout_s=self._timeout_s,
            now=self._clock.now(),
            secrets=(self._token,),
            limit=MAX_ANSWER_BYTES,
        )
        return judge(answer) if isinstance(answer, Answer) else answer


def judge(answer: Answer) -> Posted | Retry | Final:
    """Success is 200 with `ok: true` and the message's place; most errors come with 200, too."""
    if (refused := refusal(answer)) is not None:
        return refused
    try:
        document: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("ok"), bool):
        return Final(Failure.UNEXPECTED_ANSWER, f"{answer.status}, but not Slack's JSON: {answer.text}")
    if not document["ok"]:
        return _error(str(document.get("error") or "unknown"), answer)
    channel, ts = document.get("channel"), document.get("ts")
    if not isinstance(channel, str) or not isinstance(ts, str) or not channel or not ts or "/" in channel:
        return Final(Failure.UNEXPECTED_ANSWER, "ok, but without the message's channel and ts")
    return Posted(channel, ts)


def _error(error: str, answer: Answer) -> Retry | Final:
    told = fit(clean(error), 200)
    if error in ("ratelimited", "rate_limited", "message_limit_exceeded"):
        return Retry(Failure.RATE_LIMITED, told, answer.retry_after_s)
    if error in _PASSING:
        return Retry(Failure.SERVER_ERROR, told, answer.retry_after_s)
    return Final(Failure.REJECTED, told)

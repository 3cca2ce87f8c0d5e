"""Delivery to one Slack incoming webhook."""

from __future__ import annotations

from typing import Final as Constant

import httpx

from service.notify.http import Answer, post, refusal
from service.notify.notification import NEWS, Notification
from service.notify.receiver import Delivered, Failure, Final, Result
from service.notify.slack.render import render
from service.runtime.clock import Clock

INTERVAL_S: Constant = 1.0
"""Slack takes about one message a second from a webhook. Counted from answer to request, so that no two
messages can *arrive* closer together, however long each was on its way."""


class Slack:
    """A webhook. Its URL is its only credential and is treated as one."""

    vendor = "slack"
    concurrency = 1
    wants = NEWS

    def __init__(
        self,
        client: httpx.AsyncClient,
        webhook_url: str,
        *,
        timeout_s: float,
        clock: Clock,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._url = webhook_url
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, notification: Notification) -> Result:
        answer = await post(
            self._client,
            self._url,
            content=render(notification),
            timeout_s=self._timeout_s,
            now=self._clock.now(),
            secrets=(self._url, httpx.URL(self._url).path),
        )
        return judge(answer) if isinstance(answer, Answer) else answer


def judge(answer: Answer) -> Result:
    """Success is exactly 200 with the body `ok`. Any other success is not Slack's: a proxy's login page, say."""
    if (refused := refusal(answer)) is not None:
        return refused
    if answer.status == 200 and answer.text == "ok":
        return Delivered()
    return Final(Failure.UNEXPECTED_ANSWER, f"{answer.status}, but not Slack's ok: {answer.text}")

"""Delivery to one PagerDuty integration."""

from __future__ import annotations

from typing import Final as Constant

import httpx

from service.notify.http import Answer, post, refusal
from service.notify.notification import Change, Notification
from service.notify.pagerduty.render import render
from service.notify.receiver import Delivered, Failure, Final, Result
from service.runtime.clock import Clock

INTERVAL_S: Constant = 0.5
"""PagerDuty takes about 120 events a minute for one integration key."""


class PagerDuty:
    """One integration key. A repeated request is harmless: PagerDuty folds by `dedup_key`."""

    vendor = "pagerduty"
    concurrency = 1
    wants = frozenset(Change)

    def __init__(
        self,
        client: httpx.AsyncClient,
        routing_key: str,
        *,
        base_url: str,
        timeout_s: float,
        clock: Clock,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._routing_key = routing_key
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, notification: Notification) -> Result:
        request = render(notification, self._routing_key)
        answer = await post(
            self._client,
            self._base_url + request.path,
            content=request.body,
            timeout_s=self._timeout_s,
            now=self._clock.now(),
            secrets=(self._routing_key,),
        )
        return judge(answer) if isinstance(answer, Answer) else answer


def judge(answer: Answer) -> Result:
    """Success is exactly 202: accepted, which is not yet paged."""
    if (refused := refusal(answer)) is not None:
        return refused
    if answer.status == 202:
        return Delivered()
    return Final(Failure.UNEXPECTED_ANSWER, f"{answer.status} instead of 202: {answer.text}")

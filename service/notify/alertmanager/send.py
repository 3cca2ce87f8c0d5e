"""Delivery to the Alertmanagers of one cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

import httpx

from service.notify.alertmanager.render import render
from service.notify.http import Answer, post, refusal
from service.notify.notification import Change, Notification
from service.notify.receiver import Delivered, Final, Result, Retry
from service.runtime.clock import Clock

PATH = "/api/v2/alerts"

_LOG = logging.getLogger(__name__)


class Alertmanager:
    """Each Alertmanager of a cluster is told, for they do not tell each other of alerts.

    It is delivered when one of them has it, as for Prometheus: the others hear of what fires when it is sent again.
    """

    vendor = "alertmanager"
    concurrency = 1
    wants = frozenset(Change)

    def __init__(
        self,
        client: httpx.AsyncClient,
        urls: Sequence[str],
        *,
        token: str | None,
        resend_s: float,
        timeout_s: float,
        clock: Clock,
        interval_s: float = 0.0,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._urls = [url.rstrip("/") + PATH for url in urls]
        self._token = token
        self._resend = timedelta(seconds=resend_s)
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, notification: Notification) -> Result:
        bodies = render(notification, self._clock.now(), self._resend)
        results = await asyncio.gather(*(self._tell(url, bodies) for url in self._urls))
        bad = [result for result in results if not isinstance(result, Delivered)]
        if len(bad) == len(results):
            # One that may take it later is worth trying again.
            return next((result for result in bad if isinstance(result, Retry)), bad[0])
        for result in bad:
            _LOG.warning("one of %d Alertmanagers was not told: %s", len(results), result.detail)
        return Delivered()

    async def _tell(self, url: str, bodies: Sequence[bytes]) -> Delivered | Retry | Final:
        for body in bodies:
            answer = await post(
                self._client,
                url,
                content=body,
                headers={} if self._token is None else {"Authorization": f"Bearer {self._token}"},
                timeout_s=self._timeout_s,
                now=self._clock.now(),
                secrets=(url, self._token or ""),
            )
            refused = refusal(answer) if isinstance(answer, Answer) else answer
            if refused is not None:
                return refused
        return Delivered()

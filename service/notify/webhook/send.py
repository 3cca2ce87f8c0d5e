"""Delivery to one HTTP endpoint of the user's own."""

from __future__ import annotations

import httpx

from service.notify.http import Answer, post, refusal
from service.notify.notification import Change, Notification
from service.notify.receiver import Delivered, Result
from service.notify.webhook.render import body, headers
from service.runtime.clock import Clock


class Webhook:
    """An endpoint that answers any 2xx. The URL may hold credentials and is treated as a secret."""

    vendor = "webhook"
    concurrency = 4
    wants = frozenset(Change)

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        *,
        secret: str | None,
        timeout_s: float,
        clock: Clock,
        interval_s: float = 0.0,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, notification: Notification) -> Result:
        now = self._clock.now()
        content = body(notification)
        answer = await post(
            self._client,
            self._url,
            content=content,
            headers=headers(notification, content, secret=self._secret, now=now),
            timeout_s=self._timeout_s,
            now=now,
            secrets=(self._url, self._secret or ""),
        )
        if not isinstance(answer, Answer):
            return answer
        return refusal(answer) or Delivered()

"""Delivery to one HTTP endpoint of the user's own."""

from __future__ import annotations

import httpx

from schemas.alerts import Alert
from service.notify.http import Answer, post, refusal
from service.notify.receiver import Delivered, Result
from service.notify.webhook.render import headers
from service.runtime.clock import Clock


class Webhook:
    """An endpoint that answers any 2xx. The URL may hold credentials and is treated as a secret."""

    vendor = "webhook"
    concurrency = 4

    def __init__(
        self,
        client: httpx.AsyncClient,
        name: str,
        url: str,
        *,
        secret: str | None,
        timeout_s: float,
        clock: Clock,
        interval_s: float = 0.0,
    ) -> None:
        self.interval_s = interval_s
        self._client = client
        self._name = name
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._clock = clock

    async def send(self, alert: Alert) -> Result:
        now = self._clock.now()
        body = alert.to_json()
        answer = await post(
            self._client,
            self._url,
            content=body,
            headers=headers(alert, body, receiver=self._name, secret=self._secret, now=now),
            timeout_s=self._timeout_s,
            now=now,
            secrets=(self._url, self._secret or ""),
        )
        if not isinstance(answer, Answer):
            return answer
        return refusal(answer) or Delivered()

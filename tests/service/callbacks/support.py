"""Callbacks on loopback whose records go to lists instead of a broker, and a Slack that reads the answers."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

from schemas.control import Control
from schemas.feedback import Feedback
from schemas.notifications import Acknowledgement
from service.callbacks.post import FORM, JSON, PAGERDUTY, SLACK, Post
from service.errors import BrokerUnavailable
from service.http.server import serve
from service.rules.measures import Measures
from service.rules.press import Subject
from service.runtime.clock import SystemClock
from service.settings import CallbacksSettings
from tests.service.notify.support import alert
from tests.support.patience import PATIENCE_S

SECRETS = {
    "slack": {"app": b"slack-signing-secret"},
    "pagerduty": {"a": b"pd-secret-one-one", "b": b"pd-secret-two-two"},
}
SUBJECT = Subject.of(alert(), "5b0c6f1d2e3a49788a61c0de")
HOOKS = "https://hooks.example/"


@dataclass
class Written:
    """Takes what is written; refuses when `away`, and waits until it is `open`."""

    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    feedback: list[Feedback] = field(default_factory=list)
    records: list[Control] = field(default_factory=list)
    away: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def _reach(self) -> None:
        await self.open.wait()
        if self.away:
            raise BrokerUnavailable("no broker at secret-host:9092")

    async def acknowledge(self, said: Acknowledgement) -> None:
        await self._reach()
        self.acknowledgements.append(said)

    async def judge(self, said: Feedback) -> str | None:
        await self._reach()
        self.feedback.append(said)
        return (
            None
            if said.worth in ("real", "planned")
            else 'quieter since ada said "not worth it" on 2026-11-20'
        )

    async def apply(self, records: Sequence[Control], author: str, reason: str) -> None:
        await self._reach()
        self.records += [record for record in records if record not in self.records]


class Told:
    """Keeps what is told to people."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def tell(self, url: str, text: str) -> None:
        assert url == HOOKS + "actions/1"
        self.texts.append(text)


@dataclass
class Callbacks:
    url: str
    post: Post
    written: Written
    told: Told
    measures: Measures
    client: httpx.AsyncClient

    async def slack(
        self, body: bytes, *, at: float | None = None, secret: bytes | None = None
    ) -> httpx.Response:
        stamp = str(int(SystemClock().now().timestamp() if at is None else at))
        key = SECRETS["slack"]["app"] if secret is None else secret
        signature = hmac.new(key, b"v0:" + stamp.encode() + b":" + body, sha256).hexdigest()
        headers = {
            "Content-Type": FORM,
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": f"v0={signature}",
        }
        return await self.client.post(self.url + SLACK, content=body, headers=headers)

    async def pagerduty(self, body: bytes, *secrets: bytes) -> httpx.Response:
        signed = ",".join(f"v1={hmac.new(secret, body, sha256).hexdigest()}" for secret in secrets)
        headers = {"Content-Type": JSON, "X-PagerDuty-Signature": signed}
        return await self.client.post(self.url + PAGERDUTY, content=body, headers=headers)


@asynccontextmanager
async def callbacks(**changed: Any) -> AsyncIterator[Callbacks]:
    named = {name: {"signing_secret": secret.decode()} for name, secret in SECRETS["pagerduty"].items()}
    settings = CallbacksSettings(
        port=0, slack={"app": {"signing_secret": "x" * 16}}, pagerduty=named, **changed
    )
    written, told, measures = Written(), Told(), Measures()
    post = Post(settings, SECRETS, written, measures, told, SystemClock())
    async with (
        serve(settings, post.site(), SystemClock()) as port,
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield Callbacks(f"http://127.0.0.1:{port}", post, written, told, measures, client)
        await post.end()


def press(act: str, *, action_ts: str = "1769868600.123456", user: str = "U0001", **changed: Any) -> bytes:
    """As Slack sends it."""
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "ada", "name": "ada", "team_id": "T1"},
        "container": {"type": "message", "message_ts": "17.1", "channel_id": "C1"},
        "response_url": HOOKS + "actions/1",
        "actions": [
            {
                "type": "button",
                "action_id": f"tidegate_{act}",
                "block_id": "tidegate_1",
                "value": SUBJECT.value(),
                "action_ts": action_ts,
            }
        ],
        **changed,
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def webhook(kind: str = "incident.acknowledged", **data: Any) -> bytes:
    """As PagerDuty sends it."""
    event = {
        "id": "01CH",
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": "2026-01-31T14:10:00.123Z",
        "agent": {"id": "PUSER", "summary": "Ada Lovelace", "type": "user_reference"},
        "data": {
            "id": "PINC",
            "type": "incident",
            "incident_key": SUBJECT.incident,
            "status": "acknowledged",
        },
        **data,
    }
    return orjson.dumps({"event": event})

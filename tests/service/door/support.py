"""A door on loopback whose events go to a list instead of a broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from service.door.batch import Event
from service.door.post import Post
from service.door.publisher import NotAcknowledged
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import SystemClock
from service.settings import DoorSettings
from tests.schemas.events import SMALLEST
from tests.support.patience import PATIENCE_S

TOKEN = "s3cret-token-of-the-tests"
OTHER = "an-older-token-of-the-tests"


def event(event_id: str = "e-1", **fields: Any) -> bytes:
    return json.dumps({**SMALLEST, "event_id": event_id, **fields}).encode()


def ndjson(*events: bytes) -> bytes:
    return b"".join(line + b"\n" for line in events)


@dataclass
class Topic:
    """Takes what is published; acknowledges when `open`, refuses when `away`."""

    events: list[tuple[Event, str]] = field(default_factory=list)
    away: bool = False
    open: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    async def publish(self, events: Sequence[Event], token: str) -> None:
        if self.away:
            raise NotAcknowledged("the broker is away")
        self.waiting += 1
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        self.events += [(event, token) for event in events]

    @property
    def values(self) -> list[bytes]:
        return [event.value for event, _ in self.events]

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.waiting < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@dataclass
class Site:
    """One door under test."""

    port: int
    topic: Topic
    client: httpx.AsyncClient

    async def post(
        self,
        content: Any,
        content_type: str | None = "application/x-ndjson",
        token: str | None = TOKEN,
        query: str = "",
        **headers: str,
    ) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type is not None:
            given["content-type"] = content_type
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        return await self.client.post(f"/v1/events{query}", content=content, headers=given)

    async def raw(self, data: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """Whatever is answered to these bytes until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(timeout_s):
                return await reader.read()
        finally:
            writer.close()


def settings(**changed: Any) -> DoorSettings:
    given = {"port": 0, "tokens": {"new": {"token": TOKEN}, "old": {"token": OTHER}}, **changed}
    return DoorSettings.model_validate(given)


@asynccontextmanager
async def at_the_door(**changed: Any) -> AsyncIterator[Site]:
    """A door with these settings, closed in an orderly way at the end."""
    door, topic = settings(**changed), Topic()
    async with (
        serve(door, Post(door, Keyring.load(door, "door"), topic).site(), SystemClock()) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        yield Site(port, topic, client)

"""A decision API on loopback, in front of a gate that is told by hand what the limits are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from service.decisions.app import policy
from service.decisions.board import Board
from service.decisions.desk import Desk
from service.decisions.openapi import written
from service.decisions.watched import Watched
from service.http.keyring import Keyring
from service.http.server import serve
from service.runtime.clock import SystemClock
from service.settings import DecisionsSettings
from tests.gateway.clock import HandClock
from tests.support.patience import PATIENCE_S

TOKEN = "s3cret-token-of-the-tests"
ASKS = "this-token-may-only-ask"
READS = "this-token-may-only-read"
TOKENS = {
    "all": {"token": TOKEN, "scopes": ["decide", "settle", "snapshot"]},
    "asks": {"token": ASKS, "scopes": ["decide"]},
    "reads": {"token": READS, "scopes": ["snapshot"]},
}


@dataclass
class Here:
    """One decision API under test."""

    port: int
    gate: Watched
    board: Board
    desk: Desk
    clock: HandClock
    client: httpx.AsyncClient

    async def ask(self, *calls: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await self.client.post("/v1/decisions", json={"calls": list(calls)})
        assert answer.status_code == 200, answer.text
        decisions: list[dict[str, Any]] = answer.json()["decisions"]
        return decisions

    async def settle(self, *settlements: dict[str, Any]) -> list[bool]:
        answer = await self.client.post("/v1/settlements", json={"settlements": list(settlements)})
        assert answer.status_code == 200, answer.text
        settled: list[bool] = answer.json()["settled"]
        return settled


def settings(**changed: Any) -> DecisionsSettings:
    return DecisionsSettings.model_validate({"port": 0, "tokens": TOKENS, **changed})


@asynccontextmanager
async def open_api(**changed: Any) -> AsyncIterator[Here]:
    """An API with these settings, closed in an orderly way at the end."""
    asked, clock = settings(**changed), HandClock()
    gate = Watched("test", policy(asked), clock)
    gate.enforcing = asked.enforce
    board = Board(gate, asyncio.get_running_loop())
    gate.on_change = board.changed
    desk = Desk(asked, Keyring.load(asked, "decisions"), gate, board, written(), clock)
    async with (
        serve(asked, desk.site(), SystemClock()) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            timeout=PATIENCE_S,
            headers={"authorization": f"Bearer {TOKEN}"},
        ) as client,
    ):
        yield Here(port, gate, board, desk, clock, client)

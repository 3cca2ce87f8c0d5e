"""What is answered to each request, and to whom."""

from __future__ import annotations

import asyncio
import math
from typing import Final, TypeVar

import msgspec
from aiohttp import hdrs, web

from gateway.clock import Clock
from service.decisions.answers import Answers
from service.decisions.board import PARTS, Board, Part
from service.decisions.question import (
    AskedCall,
    Invalid,
    Malformed,
    Questions,
    Settled,
    Settlements,
    Verdict,
    Verdicts,
    read,
    verdict,
)
from service.decisions.tickets import Tickets
from service.decisions.watched import Watched
from service.http.body import InFlight
from service.http.intake import BUSY_RETRY_S, Intake
from service.http.keyring import ANONYMOUS, Keyring
from service.http.problem import Kind, Problem, later
from service.http.server import Meters, Route, Site
from service.runtime.metrics import (
    DECISIONS_CALLS,
    DECISIONS_CONNECTIONS_REFUSED,
    DECISIONS_FORGOTTEN,
    DECISIONS_IN_FLIGHT,
    DECISIONS_REPEATED,
    DECISIONS_REQUESTS,
    DECISIONS_SECONDS,
    DECISIONS_SETTLED,
)
from service.settings import DecisionScope, DecisionsSettings

NAME: Final = "decisions"
DECISIONS: Final = "/v1/decisions"
SETTLEMENTS: Final = "/v1/settlements"
SNAPSHOT: Final = "/v1/snapshot"
DOCUMENT: Final = "/v1/openapi.json"
MAX_WAIT_S: Final = 60
JSON: Final = "application/json"

_TURN: Final = 50
"""Calls decided about before others get a turn: a millisecond."""
_ENCODER: Final = msgspec.json.Encoder()
_COUNTED: Final = DECISIONS_SETTLED.labels("counted")
_UNKNOWN: Final = DECISIONS_SETTLED.labels("unknown")
_Body = TypeVar("_Body")


class Desk:
    """Answers requests from one gate."""

    def __init__(
        self,
        settings: DecisionsSettings,
        keyring: Keyring,
        gate: Watched,
        board: Board,
        document: bytes,
        clock: Clock,
    ) -> None:
        """`document`: the OpenAPI description, as it is served."""
        self._settings = settings
        self._gate = gate
        self._board = board
        self._document = document
        self._in_flight = InFlight(settings.max_in_flight_bytes, DECISIONS_IN_FLIGHT)
        self._intake = Intake(settings, keyring, [JSON], self._in_flight)
        self._clock = clock
        self.tickets = Tickets(settings.max_tickets)
        self.answers = Answers(settings.max_remembered, settings.remember_s)

    def site(self) -> Site:
        """What the role puts on the net."""
        routes = [
            Route("POST", DECISIONS, self.decide, lambda request: self._may_post(request, "decide")),
            Route("POST", SETTLEMENTS, self.settle, lambda request: self._may_post(request, "settle")),
            Route(
                "GET", SNAPSHOT, self.snapshot, lambda request: self._who(request, "snapshot"), timed=False
            ),
            Route("GET", DOCUMENT, self.describe, lambda _: None),
        ]
        meters = Meters(DECISIONS_REQUESTS, DECISIONS_SECONDS, DECISIONS_CONNECTIONS_REFUSED)
        return Site(NAME, routes, meters, on_end=self._board.close)

    async def decide(self, request: web.Request) -> web.Response:
        """A decision for each call, in their order. None is made if one cannot be read. Raises Problem."""
        token, asked = await self._read(request, "decide", Questions)
        verdicts: list[Verdict] = []
        for turn, call in enumerate(asked.calls, start=1):
            verdicts.append(self._decide(token, call))
            if turn % _TURN == 0:
                await asyncio.sleep(0)
        self._count_forgotten()
        return _answer(Verdicts(verdicts))

    async def settle(self, request: web.Request) -> web.Response:
        """Whether each settlement counted, in their order. Raises Problem."""
        _, told = await self._read(request, "settle", Settlements)
        settled: list[bool] = []
        for each in told.settlements:
            counted = self._gate.settle(self.tickets.take(each.ticket), each.cost_nanos, each.tokens)
            (_COUNTED if counted else _UNKNOWN).inc()
            settled.append(counted)
        return _answer(Settled(settled))

    async def snapshot(self, request: web.Request) -> web.Response:
        """The limits in force; 304 if the client has them, at once or after it has waited. Raises Problem."""
        self._who(request, "snapshot")
        part, wait_s = _query(request)
        known = frozenset(tag.value for tag in request.if_none_match or ())
        sheet = self._board.sheet(part)
        if sheet.tag in known and wait_s:
            if self._board.waiting >= self._settings.max_waiting:
                raise later(Kind.BUSY, f"{self._board.waiting} requests wait already", BUSY_RETRY_S)
            sheet = await self._board.another(part, known, wait_s) or sheet
        headers = {"ETag": f'"{sheet.tag}"', "Cache-Control": "private, no-cache"}
        if sheet.tag in known or "*" in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=sheet.body, content_type=JSON, headers=headers)

    async def describe(self, request: web.Request) -> web.Response:
        """The OpenAPI document. Anybody may read it: it says nothing of this installation."""
        return web.Response(body=self._document, content_type=JSON)

    def _decide(self, token: str, call: AskedCall) -> Verdict:
        """One call, once: nothing waits between the look at what was answered and the answer."""
        now = self._clock.monotonic()
        known = self.answers.known(token, call, now)
        if known is not None:
            DECISIONS_REPEATED.labels(token).inc()
            return known
        decision = self._gate.decide(call)
        name = None if decision.ticket is None else self.tickets.give(decision.ticket)
        told = verdict(decision, name)
        self.answers.give(token, call, told, now)
        DECISIONS_CALLS.labels(token, decision.action).inc()
        return told

    def _who(self, request: web.Request, scope: DecisionScope) -> str:
        """The token's name, if it allows this. Raises Problem."""
        token = self._intake.who(request)
        if token != ANONYMOUS and scope not in self._settings.tokens[token].scopes:
            challenge = f'Bearer realm="tidegate", error="insufficient_scope", scope="{scope}"'
            raise Problem(
                Kind.FORBIDDEN, f"the token lacks the scope {scope}", {hdrs.WWW_AUTHENTICATE: challenge}
            )
        return token

    def _may_post(self, request: web.Request, scope: DecisionScope) -> tuple[str, bool]:
        """The token's name, and whether the body is gzip. Raises Problem."""
        token = self._who(request, scope)
        if request.query_string:
            raise Problem(Kind.BAD_REQUEST, "no parameter is known here")
        return token, self._intake.check(request)

    async def _read(self, request: web.Request, scope: DecisionScope, kind: type[_Body]) -> tuple[str, _Body]:
        token, gzip = self._may_post(request, scope)
        with self._in_flight.claim() as take:
            body = await self._intake.read(request, gzip=gzip, take=take)
            try:
                return token, read(kind, body)
            except Malformed as error:
                raise Problem(Kind.BAD_REQUEST, f"not JSON: {error}") from None
            except Invalid as error:
                raise Problem(Kind.INVALID, str(error)) from None

    def _count_forgotten(self) -> None:
        if self.tickets.forgotten:
            DECISIONS_FORGOTTEN.inc(self.tickets.forgotten)
            self.tickets.forgotten = 0


def _query(request: web.Request) -> tuple[Part, float]:
    """Which part is asked for, and how long the client would wait for another. Raises Problem."""
    part: Part = "all"
    wait_s = 0.0
    given = request.query
    if len(given) != len(set(given)) or not given.keys() <= {"include", "wait_s"}:
        raise Problem(Kind.BAD_REQUEST, "the parameters are include and wait_s, each once at most")
    if (asked := given.get("include")) is not None:
        found = next((known for known in PARTS if known == asked), None)
        if found is None:
            raise Problem(Kind.BAD_REQUEST, f"include is one of {', '.join(PARTS)}")
        part = found
    if (asked := given.get("wait_s")) is not None:
        try:
            wait_s = float(asked)
        except ValueError:
            wait_s = math.nan
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise Problem(Kind.BAD_REQUEST, f"wait_s is a number of seconds, 0 to {MAX_WAIT_S}")
    return part, wait_s


def _answer(told: msgspec.Struct) -> web.Response:
    return web.Response(body=_ENCODER.encode(told), content_type=JSON)

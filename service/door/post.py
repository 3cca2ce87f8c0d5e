"""`POST /v1/events`: what is checked, in which order, and what is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from service.door.batch import Event, Form, Malformed, Rejection, TooMany, judge, split
from service.door.publisher import NotAcknowledged, Publishes
from service.http.body import InFlight
from service.http.intake import Intake
from service.http.keyring import Keyring
from service.http.problem import Kind, Problem, later
from service.http.server import Meters, Route, Site
from service.runtime.metrics import (
    DOOR_BYTES,
    DOOR_CONNECTIONS_REFUSED,
    DOOR_EVENTS,
    DOOR_IN_FLIGHT,
    DOOR_REFUSED,
    DOOR_REQUESTS,
    DOOR_SECONDS,
)
from service.settings import DoorSettings

PATH: Final = "/v1/events"
FORMS: Final[Mapping[str, Form]] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
AWAY_RETRY_S: Final = 5
_TURN: Final = 200
"""Events judged before others get a turn: some milliseconds."""


class Head(NamedTuple):
    """What the head of a request says, found good."""

    token: str
    form: Form
    gzip: bool
    partial: bool


class Post:
    """Answers the requests of one door."""

    def __init__(self, door: DoorSettings, keyring: Keyring, publisher: Publishes) -> None:
        self._door = door
        self._publisher = publisher
        self._in_flight = InFlight(door.max_in_flight_bytes, DOOR_IN_FLIGHT)
        self._intake = Intake(door, keyring, FORMS, self._in_flight)

    def site(self) -> Site:
        """What the door puts on the net."""
        meters = Meters(DOOR_REQUESTS, DOOR_SECONDS, DOOR_CONNECTIONS_REFUSED)
        return Site("door", [Route("POST", PATH, self.answer, self.check)], meters)

    def check(self, request: web.Request) -> Head:
        """1. Everything that can be said before the body is read. Raises Problem."""
        token = self._intake.who(request)
        partial = _flag(request)
        gzip = self._intake.check(request)
        return Head(token, FORMS[request.content_type], gzip, partial)

    async def answer(self, request: web.Request) -> web.Response:
        """202 when the broker has acknowledged every event. Raises Problem."""
        head = self.check(request)
        with self._in_flight.claim() as take:
            body = await self._intake.read(request, gzip=head.gzip, take=take)
            DOOR_BYTES.inc(len(body))
            events, rejected = await self._judge(head.form, body)
            del body  # its events live on as they are
            for rejection in rejected:
                DOOR_REFUSED.labels(rejection.reason).inc()
            if rejected and not (head.partial and events):
                raise Problem(
                    Kind.INVALID_EVENTS,
                    f"{len(rejected)} of {len(events) + len(rejected)} events are not valid; none is published",
                    members={"accepted": 0, "rejected": _told(rejected)},
                )
            try:
                await self._publisher.publish(events, head.token)
            except NotAcknowledged as error:
                raise later(
                    Kind.UNAVAILABLE, f"{error}; send the same events again, they count once", AWAY_RETRY_S
                ) from error
        DOOR_EVENTS.labels(head.token).inc(len(events))
        told: dict[str, Any] = {"accepted": len(events)}
        if head.partial:
            told["rejected"] = _told(rejected)
        return web.Response(status=202, body=orjson.dumps(told), content_type="application/json")

    async def _judge(self, form: Form, body: bytes) -> tuple[list[Event], list[Rejection]]:
        events: list[Event] = []
        rejected: list[Rejection] = []
        try:
            for turn, (line, value) in enumerate(split(form, body, self._door.max_batch_events), start=1):
                verdict = judge(line, value)
                if isinstance(verdict, Event):
                    events.append(verdict)
                else:
                    rejected.append(verdict)
                if turn % _TURN == 0:
                    await asyncio.sleep(0)
        except Malformed as error:
            raise Problem(Kind.BAD_REQUEST, str(error)) from None
        except TooMany as error:
            raise Problem(Kind.TOO_LARGE, str(error)) from None
        return events, rejected


def _flag(request: web.Request) -> bool:
    """The query: `partial=true`, `partial=false` or nothing. A typo must not decide what is published."""
    query = list(request.query.items())
    if query not in ([], [("partial", "true")], [("partial", "false")]):
        raise Problem(Kind.BAD_REQUEST, "the only parameter is partial=true or partial=false")
    return query == [("partial", "true")]


def _told(rejected: Iterable[Rejection]) -> list[dict[str, Any]]:
    return [rejection._asdict() for rejection in rejected]

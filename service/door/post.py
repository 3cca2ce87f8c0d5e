"""`POST /v1/events`: what is checked, in which order, and what is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from service.door.batch import Event, Form, Malformed, Rejection, TooMany, judge, split
from service.door.body import Damaged, Full, InFlight, TooLong, read
from service.door.keyring import Keyring
from service.door.problem import Kind, Problem, later
from service.door.publisher import NotAcknowledged, Publishes
from service.runtime.metrics import DOOR_BYTES, DOOR_EVENTS, DOOR_REFUSED
from service.settings import DoorSettings

FORMS: Final[Mapping[str, Form]] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
BUSY_RETRY_S: Final = 1
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
        self._keyring = keyring
        self._publisher = publisher
        self._in_flight = InFlight(door.max_in_flight_bytes)

    def check(self, request: web.Request) -> Head:
        """1. Everything that can be said before the body is read. Raises Problem."""
        token = self._keyring.admit(request.headers.get("Authorization"))
        if token is None:
            given = "Authorization" in request.headers
            challenge = 'Bearer realm="tidegate"' + (', error="invalid_token"' if given else "")
            raise Problem(
                Kind.UNAUTHORIZED,
                "the token is not known here" if given else "there is no Authorization header",
                {"WWW-Authenticate": challenge},
            )
        partial = _flag(request)
        if (form := FORMS.get(request.content_type)) is None or (
            request.charset or "utf-8"
        ).lower() != "utf-8":
            raise Problem(
                Kind.UNSUPPORTED,
                f"Content-Type must be one of {', '.join(FORMS)}, in UTF-8",
                {"Accept-Post": ", ".join(FORMS)},
            )
        coding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise Problem(
                Kind.UNSUPPORTED, "Content-Encoding must be gzip or absent", {"Accept-Encoding": "gzip"}
            )
        if (request.content_length or 0) > self._door.max_body_bytes:
            raise Problem(
                Kind.TOO_LARGE,
                f"{request.content_length} bytes, at most {self._door.max_body_bytes} are read",
            )
        if not self._in_flight.has_room(request.content_length or 0):
            raise later(Kind.BUSY, "too many bytes are in flight", BUSY_RETRY_S)
        return Head(token, form, coding == "gzip", partial)

    async def answer(self, request: web.Request) -> web.Response:
        """202 when the broker has acknowledged every event. Raises Problem."""
        head = self.check(request)
        with self._in_flight.claim() as take:
            body = await self._read(request, head, take)
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

    async def _read(self, request: web.Request, head: Head, take: Callable[[int], None]) -> bytes:
        limit = self._door.max_body_bytes
        try:
            async with asyncio.timeout(self._door.body_timeout_s):
                return await read(
                    request.content, request.content_length, gzip=head.gzip, limit=limit, take=take
                )
        except TooLong as error:
            raise Problem(Kind.TOO_LARGE, str(error)) from None
        except (Damaged, web.RequestPayloadError) as error:
            raise Problem(Kind.BAD_REQUEST, str(error) or "the body is cut off") from None
        except Full as error:
            raise later(Kind.BUSY, str(error), BUSY_RETRY_S) from None
        except TimeoutError:
            raise Problem(Kind.TOO_SLOW, f"not here after {self._door.body_timeout_s:g} s") from None

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

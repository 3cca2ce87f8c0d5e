"""What is answered to Slack and PagerDuty, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, Protocol, TypeVar

from aiohttp import web

from service.callbacks import pagerduty, signatures, slack
from service.callbacks.records import Records
from service.callbacks.slack import Pressed
from service.errors import TidegateError
from service.http.body import InFlight
from service.http.intake import Intake
from service.http.keyring import Keyring
from service.http.problem import Kind, Problem, later
from service.http.server import Meters, Route, Site
from service.kafka import KafkaError
from service.rules import press as buttons
from service.rules.measures import Measures
from service.rules.press import Press, Unreadable
from service.runtime.clock import Clock
from service.runtime.metrics import (
    CALLBACKS_ANSWERS,
    CALLBACKS_CONNECTIONS_REFUSED,
    CALLBACKS_IN_FLIGHT,
    CALLBACKS_REFUSED,
    CALLBACKS_REQUESTS,
    CALLBACKS_SECONDS,
)
from service.settings import CallbacksSettings

NAME: Final = "callbacks"
SLACK: Final = "/v1/slack/interactions"
PAGERDUTY: Final = "/v1/pagerduty/webhooks"
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
AWAY_RETRY_S: Final = 5
_REMEMBERED: Final = 10_000
"""Requests of Slack that are known when they come again: far more than five minutes bring."""
_Read = TypeVar("_Read")
_TROUBLE: Final = (KafkaError, TidegateError)

_LOG = logging.getLogger(__name__)


class Tells(Protocol):
    """Says something to who pressed a button."""

    async def tell(self, url: str, text: str) -> None: ...


class Post:
    """Answers the requests of one `tidegate callbacks`."""

    def __init__(
        self,
        settings: CallbacksSettings,
        secrets: Mapping[str, Mapping[str, bytes]],
        records: Records,
        measures: Measures,
        replies: Tells,
        clock: Clock,
    ) -> None:
        """`secrets`: of `slack` and of `pagerduty`, by name."""
        self._settings = settings
        self._secrets = secrets
        self._records = records
        self._measures = measures
        self._replies = replies
        self._clock = clock
        self._in_flight = InFlight(settings.max_in_flight_bytes, CALLBACKS_IN_FLIGHT)
        # The signature says who sends it, and covers the body: there is no token to ask for before.
        self._intakes = {
            kind: Intake(settings, Keyring(None), [kind], self._in_flight) for kind in (FORM, JSON)
        }
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()

    def site(self) -> Site:
        """What the role puts on the net: only what it has a secret for."""
        routes = []
        if self._secrets["slack"]:
            routes.append(Route("POST", SLACK, self.slack, self._intakes[FORM].check))
        if self._secrets["pagerduty"]:
            routes.append(Route("POST", PAGERDUTY, self.pagerduty, self._intakes[JSON].check))
        meters = Meters(CALLBACKS_REQUESTS, CALLBACKS_SECONDS, CALLBACKS_CONNECTIONS_REFUSED)
        return Site(NAME, routes, meters)

    async def end(self) -> None:
        """Wait for what Slack has its answer for and is not written yet."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    # --- Slack --------------------------------------------------------------------------------------------

    async def slack(self, request: web.Request) -> web.Response:
        """Answer at once, or when it is written if that is soon: Slack waits for three seconds. Raises Problem."""
        body = await self._read(request, FORM)
        stamp = request.headers.get("X-Slack-Request-Timestamp", "")
        given = request.headers.get("X-Slack-Signature", "")
        signer = signatures.slack(self._secrets["slack"], stamp, given, body, self._clock.now().timestamp())
        if signer is None:
            raise self._unsigned("slack")
        pressed = self._parsed(slack.read, body, "slack")
        # The body has the time of the press: another press of the same button is another body.
        known = sha256(body).digest()
        if known in self._seen:
            CALLBACKS_REFUSED.labels("slack", "repeated").inc()
            return web.Response()
        self._seen[known] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        task = asyncio.create_task(self._act(pressed, known))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task], timeout=self._settings.answer_within_s)
        return web.Response()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("a bug", exc_info=error)

    async def _act(self, pressed: Pressed, known: bytes) -> None:
        for press in pressed.presses:
            allowed = self._settings.slack_users
            if allowed and pressed.user not in allowed:
                CALLBACKS_REFUSED.labels("slack", "not_allowed").inc()
                said = "Nothing is done: you are not among those who may."
            else:
                said = await self._done(press, known)
            if pressed.answer_to is not None:
                await self._replies.tell(pressed.answer_to, said)

    async def _done(self, press: Press, known: bytes) -> str:
        """Do what was asked for; what to tell the person."""
        try:
            said = await self._record(press)
        except Unreadable as error:
            CALLBACKS_REFUSED.labels("slack", "unreadable").inc()
            return f"Nothing is done: {error}."
        except _TROUBLE as error:
            # What is not written may be asked for again.
            self._seen.pop(known, None)
            CALLBACKS_ANSWERS.labels("slack", press.act, "failed").inc()
            _LOG.error("%s of %s on incident %s: %s", press.act, press.author, press.subject.incident, error)
            return "This could not be written down, so nothing is done. Please press again in a minute."
        CALLBACKS_ANSWERS.labels("slack", press.act, "written").inc()
        _LOG.info("%s by %s on incident %s", press.act, press.author, press.subject.incident)
        return said

    async def _record(self, press: Press) -> str:
        subject = press.subject
        what = f"{subject.kind.replace('_', ' ')} in {subject.workflow}"
        reason = f"pressed in Slack on incident {subject.incident}"
        match press.act:
            case "acknowledge":
                await self._records.acknowledge(buttons.acknowledgement(press))
                return "You took it: nobody is reminded of it any more, and it is not escalated."
            case "silence":
                silence = buttons.silence(press)
                await self._records.apply([silence], press.author, reason)
                return f"Nobody is told of {what} until {silence.ends_at:%H:%M} UTC (silence {silence.name})."
            case "launch":
                launch = buttons.launch(press)
                await self._records.apply([launch], press.author, reason)
                until = f"{launch.ends_at:%Y-%m-%d %H:%M} UTC (launch {launch.name})"
                return (
                    f"Up to {launch.volume_multiple:g} times the usual volume of {subject.workflow} and"
                    f" ${launch.cap_usd:,} are meant until {until}."
                )
            case "release":
                approvals = buttons.releases(press, self._measures.proposals(subject.fingerprint))
                if not approvals:
                    return "Nothing of this incident is throttled."
                await self._records.apply(approvals, press.author, reason)
                return f"{len(approvals)} throttles of this incident end, and are not done again for a day."
            case worth:
                follows = await self._records.judge(buttons.feedback(press, worth))
                effect = "It changes nothing" if follows is None else f"{subject.workflow} is {follows}"
                return f"Noted: {worth.replace('_', ' ')}. {effect}."

    # --- PagerDuty ----------------------------------------------------------------------------------------

    async def pagerduty(self, request: web.Request) -> web.Response:
        """Answered when it is written: what is not, PagerDuty sends again. Raises Problem."""
        body = await self._read(request, JSON)
        given = request.headers.get("X-PagerDuty-Signature", "")
        if signatures.pagerduty(self._secrets["pagerduty"], given, body) is None:
            raise self._unsigned("pagerduty")
        said = self._parsed(pagerduty.read, body, "pagerduty")
        if said is not None:
            try:
                await self._records.acknowledge(said)
            except _TROUBLE as error:
                CALLBACKS_ANSWERS.labels("pagerduty", said.state, "failed").inc()
                _LOG.error("%s by %s on incident %s: %s", said.state, said.author, said.fingerprint, error)
                raise later(Kind.UNAVAILABLE, "it could not be written down", AWAY_RETRY_S) from None
            CALLBACKS_ANSWERS.labels("pagerduty", said.state, "written").inc()
        return web.Response(status=204)

    # --- both ---------------------------------------------------------------------------------------------

    async def _read(self, request: web.Request, kind: str) -> bytes:
        intake = self._intakes[kind]
        gzip = intake.check(request)
        with self._in_flight.claim() as take:
            return await intake.read(request, gzip=gzip, take=take)

    def _unsigned(self, vendor: str) -> Problem:
        CALLBACKS_REFUSED.labels(vendor, "signature").inc()
        return Problem(Kind.UNSIGNED, "signed with no secret that is known here, or too long ago")

    def _parsed(self, read: Callable[[bytes], _Read], body: bytes, vendor: str) -> _Read:
        try:
            return read(body)
        except Unreadable as error:
            CALLBACKS_REFUSED.labels(vendor, "unreadable").inc()
            raise Problem(Kind.BAD_REQUEST, str(error)) from None

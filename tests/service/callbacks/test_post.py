"""What becomes of presses in Slack and of acknowledgements at PagerDuty."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.catalog import EXAMPLES
from schemas.control import Approval, Launch, Silence
from schemas.decode import validate
from schemas.throttles import ThrottleEvent
from service.callbacks.post import SLACK
from service.runtime.clock import SystemClock
from tests.service.callbacks.support import SECRETS, SUBJECT, callbacks, press, webhook

AT = datetime(2026, 1, 31, 14, 10, 0, 123456, UTC)
SECOND = AT.replace(microsecond=0)
A, B = SECRETS["pagerduty"]["a"], SECRETS["pagerduty"]["b"]


def event(change: str, proposal: str) -> ThrottleEvent:
    return validate(ThrottleEvent, EXAMPLES["throttle-event"]).model_copy(
        update={"change": change, "proposal": proposal, "alert_fingerprint": SUBJECT.fingerprint}
    )


async def test_acknowledge_takes_the_incident() -> None:
    async with callbacks() as site:
        answer = await site.slack(press("acknowledge"))
        assert (answer.status_code, answer.content) == (200, b"")
        [said] = site.written.acknowledgements
        assert (said.fingerprint, said.author, said.at, said.via) == (SUBJECT.incident, "ada", AT, "slack")
        assert site.told.texts[0].startswith("You took it")


async def test_silence_is_for_an_hour_and_for_this_kind_of_this_workflow() -> None:
    async with callbacks() as site:
        await site.slack(press("silence"))
        [record] = site.written.records
        assert isinstance(record, Silence)
        assert (record.match.workflow, record.match.kinds) == ("support-agent", ["retry_loop"])
        assert (record.starts_at, record.ends_at) == (SECOND, SECOND + timedelta(hours=1))
        assert record.author == "ada"
        assert "until 15:10 UTC" in site.told.texts[0]


async def test_a_planned_launch_has_the_limits_that_the_button_said() -> None:
    async with callbacks() as site:
        await site.slack(press("launch"))
        [record] = site.written.records
        assert isinstance(record, Launch)
        assert (record.workflow, record.owner, record.cap_usd) == ("support-agent", "ada", Decimal(4620))
        assert (record.volume_multiple, record.ends_at) == (19.0, SECOND + timedelta(days=1))


async def test_release_says_no_to_all_that_is_done_about_the_incident() -> None:
    async with callbacks() as site:
        await site.slack(press("release"))
        assert site.told.texts == ["Nothing of this incident is throttled."]
        for change, proposal in (
            ("started", "p1"),
            ("proposed", "p2"),
            ("started", "p3"),
            ("released", "p3"),
        ):
            site.measures.apply(event(change, proposal))
        await site.slack(press("release", action_ts="1769868601.0"))
        approvals = [record for record in site.written.records if isinstance(record, Approval)]
        assert [(one.proposal, one.decision) for one in approvals] == [("p1", "no"), ("p2", "no")]


async def test_what_an_alert_was_worth_is_written_down_with_what_follows() -> None:
    async with callbacks() as site:
        await site.slack(press("not_worth_it"))
        [said] = site.written.feedback
        assert (said.fingerprint, said.workflow, said.worth) == (
            SUBJECT.fingerprint,
            "support-agent",
            "not_worth_it",
        )
        assert 'support-agent is quieter since ada said "not worth it"' in site.told.texts[0]


async def test_the_same_payload_twice_is_one_record() -> None:
    async with callbacks() as site:
        body = press("silence")
        assert [(await site.slack(body)).status_code for _ in range(3)] == [200, 200, 200]
        # Another process, which has not seen it, comes to the same record.
        async with callbacks() as other:
            await other.slack(body)
            assert other.written.records == site.written.records
        assert len(site.written.records) == len(site.told.texts) == 1


async def test_who_presses_again_later_means_it() -> None:
    async with callbacks() as site:
        await site.slack(press("silence"))
        await site.slack(press("silence", action_ts="1769872300.5"))
        assert len({record.name for record in site.written.records}) == 2


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_an_old_request_is_a_replay(seconds: float) -> None:
    async with callbacks() as site:
        answer = await site.slack(press("silence"), at=SystemClock().now().timestamp() + seconds)
        assert answer.status_code == 401
        assert site.written.records == []


async def test_a_request_that_somebody_else_signed_does_nothing() -> None:
    async with callbacks() as site:
        assert (await site.slack(press("silence"), secret=b"guess")).status_code == 401
        bare = await site.client.post(
            site.url + SLACK,
            content=press("silence"),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert bare.status_code == 401
        assert bare.json()["type"] == "urn:tidegate:callbacks:unsigned"
        assert site.written.records == []


async def test_slack_is_answered_in_time_although_the_broker_is_slow() -> None:
    async with callbacks(answer_within_s=0.05) as site:
        site.written.open.clear()
        assert (await site.slack(press("acknowledge"))).status_code == 200
        assert site.written.acknowledgements == []
        site.written.open.set()
        await site.post.end()
        assert len(site.written.acknowledgements) == len(site.told.texts) == 1


async def test_when_nothing_could_be_written_the_person_is_told_and_may_press_again() -> None:
    async with callbacks() as site:
        site.written.away = True
        body = press("acknowledge")
        assert (await site.slack(body)).status_code == 200
        assert site.told.texts == [
            "This could not be written down, so nothing is done. Please press again in a minute."
        ]
        site.written.away = False
        await site.slack(body)
        assert len(site.written.acknowledgements) == 1


async def test_only_those_who_may_do_something() -> None:
    async with callbacks(slack_users=["U0009"]) as site:
        await site.slack(press("silence"))
        assert site.written.records == []
        assert "not among those who may" in site.told.texts[0]
        await site.slack(press("silence", user="U0009"))
        assert len(site.written.records) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"payload=%7B", 400),
        (b"", 400),
        (b"payload=[]", 400),
        (press("explode"), 400),
        (press("silence", action_ts="soon"), 400),
        (press("silence", type="view_submission"), 200),
        (press("silence", actions=[{"action_id": "others_button"}]), 200),
        (press("silence", actions="x"), 200),
    ],
)
async def test_what_is_no_press_of_ours_does_nothing(body: bytes, status: int) -> None:
    async with callbacks() as site:
        assert (await site.slack(body)).status_code == status
        assert site.written.records == []
        assert site.told.texts == []


async def test_an_acknowledgement_at_pagerduty_is_one_here() -> None:
    async with callbacks() as site:
        for secrets in ((A,), (b"unknown", B)):
            assert (await site.pagerduty(webhook(), *secrets)).status_code == 204
        first, second = site.written.acknowledgements
        assert first == second
        assert (first.fingerprint, first.author, first.via) == (SUBJECT.incident, "Ada Lovelace", "pagerduty")
        await site.pagerduty(webhook("incident.unacknowledged"), A)
        assert site.written.acknowledgements[-1].state == "withdrawn"


@pytest.mark.parametrize(
    "body",
    [
        webhook("incident.resolved"),
        webhook("pagey.ping"),
        webhook(data={"incident_key": "Somebody/Else's"}),
        webhook(data={"incident_key": None}),
        # What Tidegate acknowledged there comes back, and is nobody's.
        webhook(agent={"id": "PSVC", "summary": "Tidegate", "type": "inbound_integration_reference"}),
        webhook(agent=None),
    ],
)
async def test_what_is_no_person_s_acknowledgement_is_passed_over(body: bytes) -> None:
    async with callbacks() as site:
        assert (await site.pagerduty(body, A)).status_code == 204
        assert site.written.acknowledgements == []


async def test_pagerduty_is_asked_to_come_again_when_nothing_could_be_written() -> None:
    async with callbacks() as site:
        site.written.away = True
        answer = await site.pagerduty(webhook(), A)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "secret-host" not in answer.text


@pytest.mark.parametrize("secrets", [(), (b"unknown",), (b"unknown",) * 30])
async def test_a_webhook_that_pagerduty_did_not_sign_does_nothing(secrets: tuple[bytes, ...]) -> None:
    async with callbacks() as site:
        assert (await site.pagerduty(webhook(), *secrets)).status_code == 401
        assert site.written.acknowledgements == []


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"event":1}', b"x", webhook(occurred_at="soon")])
async def test_a_webhook_that_is_none_is_refused(body: bytes) -> None:
    async with callbacks() as site:
        assert (await site.pagerduty(body, A)).status_code == 400


async def test_presses_at_once_are_all_written() -> None:
    async with callbacks() as site:
        bodies = [press("acknowledge", action_ts=f"{1769868600 + n}.5") for n in range(20)]
        answers: list[Any] = await asyncio.gather(*(site.slack(body) for body in bodies))
        assert {answer.status_code for answer in answers} == {200}
        assert len(site.written.acknowledgements) == 20

"""A Slack app: one message for each incident, updated in place, its thread, its buttons, its errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.notifications import Acknowledgement
from service.demo import vendor_rules
from service.demo.receivers import Fault, LocalReceivers
from service.notify import http
from service.notify.notification import Change, Line, Notification
from service.notify.receiver import Delivered, Failure, Final, Result, Retry
from service.notify.slack_bot import render
from service.notify.slack_bot.send import Posted, SlackBot
from service.rules.press import MAX_VALUE, Subject
from service.runtime.clock import SystemClock
from tests.service.notify.support import NOW, alert, alerts, largest, resolved, told
from tests.service.notify.test_rendering import CASES, golden

JSON = "application/json; charset=utf-8"
several = st.lists(alerts.filter(lambda one: one.status != "pending"), min_size=1, max_size=4).map(
    lambda found: told(*found)
)


def buttons(said: Notification) -> list[str]:
    blocks = orjson.loads(render.message(said, "C1"))["blocks"]
    return [
        e["action_id"].removeprefix(render.ACTION)
        for b in blocks
        for e in b.get("elements", [])
        if "value" in e
    ]


@pytest.mark.parametrize("name", CASES)
def test_messages_and_replies_are_as_agreed(name: str) -> None:
    message, reply = render.message(CASES[name], "C1"), render.reply(CASES[name], "C1", "17.1")
    assert vendor_rules.slack(message, JSON) == vendor_rules.slack(reply, JSON) == []
    golden(f"slack-bot-{name}", {"message": orjson.loads(message), "reply": orjson.loads(reply)})


@settings(max_examples=40, deadline=None)
@given(several)
def test_no_alerts_break_a_rule(said: Notification) -> None:
    for body in (render.message(said, "C1", "17.1"), render.reply(said, "C1", "17.1")):
        assert vendor_rules.slack(body, JSON) == []


@pytest.mark.parametrize("character", ["&", "<", "😀", '"', "\\", "W", "`", "\u202e", "\u00a0"])
def test_messages_of_nothing_but_long_characters_fit(character: str) -> None:
    for said in (told(largest(character)), told(*(largest(character) for _ in range(200)))):
        for body in (render.message(said, "C1", "17.1"), render.reply(said, "C1", "17.1")):
            assert vendor_rules.slack(body, JSON) == []
    assert len(Subject.of(largest(character), "i" * 64).value().encode("utf-16-le")) // 2 <= MAX_VALUE


def test_each_state_has_its_buttons() -> None:
    taken = Acknowledgement(fingerprint="f", author="ada", at=NOW, via="slack")
    assert buttons(told(alert())) == ["acknowledge", "silence", "launch", "release"]
    assert buttons(told(alert(), firing=(Line(alert(), None, taken),))) == ["silence", "launch", "release"]
    assert buttons(told(alert(kind="launch", severity="info"))) == ["silence", "launch"]
    assert buttons(told(alert(kind="data_quality"))) == ["acknowledge", "silence", "release"]
    assert buttons(told(resolved())) == ["real", "planned", "expected", "not_worth_it"]
    assert buttons(CASES["daily-digest"]) == []
    assert b"actions" not in render.message(told(alert()), "C1", buttons=False)


def test_what_somebody_should_act_on_is_heard_in_the_channel() -> None:
    def loud(said: Notification) -> bool:
        return "reply_broadcast" in orjson.loads(render.reply(said, "C1", "1.1"))

    assert loud(told(alert(), changes=frozenset({Change.REPEATED})))
    assert loud(CASES["nobody-answered"])
    assert not loud(CASES["somebody-took-it"])
    assert not loud(told(resolved()))


class Channel:
    """A bot in the channel of the local Slack."""

    def __init__(self, slack: LocalReceivers) -> None:
        self.slack = slack
        self.api = slack.slack_api

    async def send(self, said: Notification, **changed: Any) -> Result:
        options = {"base_url": self.slack.slack_api_url, "timeout_s": 5.0, "clock": SystemClock(), **changed}
        token = options.pop("token", self.api.token)
        async with http.client() as client:
            return await SlackBot(client, token, self.api.channel, **options).send(said)


@pytest.fixture
def channel() -> Iterator[Channel]:
    with LocalReceivers(slack_interval_s=0.0) as slack:
        yield Channel(slack)
        assert slack.violations == []


async def test_an_incident_is_one_message_and_its_changes_a_thread(channel: Channel) -> None:
    first = await channel.send(told(alert()))
    assert isinstance(first, Delivered)
    for sequence, said in enumerate((CASES["somebody-took-it"], told(resolved())), start=2):
        again = await channel.send(replace(said, sequence=sequence, reference=first.reference))
        assert again == first
    [message] = channel.api.incidents()
    assert first.reference == f"{channel.api.channel}/{message.ts}"
    assert message.edits == 2
    assert message.body["text"].startswith("RESOLVED: ")
    replies = [reply.body["text"] for reply in channel.api.thread(message.ts)]
    assert replies[0].startswith("ada &lt;ops&gt; took it.")
    assert replies[1].startswith("Over after ")


async def test_a_message_that_somebody_deleted_is_posted_anew(channel: Channel) -> None:
    first = await channel.send(told(alert()))
    assert isinstance(first, Delivered)
    posted = Posted.read(first.reference)
    assert posted is not None
    channel.api.delete(posted.ts)
    again = await channel.send(told(alert(), sequence=2, reference=first.reference))
    assert isinstance(again, Delivered)
    assert again.reference not in (None, first.reference)
    assert len(channel.api.incidents()) == 1


async def test_after_a_reply_that_failed_both_are_tried_again_and_nothing_is_doubled(
    channel: Channel,
) -> None:
    first = await channel.send(told(alert()))
    assert isinstance(first, Delivered)
    later = told(alert(), sequence=2, changes=frozenset({Change.REPEATED}), reference=first.reference)
    for failing in (
        Fault(429, retry_after="7"),
        Fault(503),
        Fault(200, '{"ok":false,"error":"internal_error"}'),
    ):
        # The first request is the update, which goes well.
        channel.slack.fail("slack_bot", [failing])
        assert isinstance(await channel.send(later), Retry)
    assert await channel.send(later) == first
    [message] = channel.api.incidents()
    assert len(channel.api.thread(message.ts)) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            Fault(429, '{"ok":false,"error":"ratelimited"}', retry_after="30"),
            (Retry, Failure.RATE_LIMITED, 30.0),
        ),
        (
            Fault(200, '{"ok":false,"error":"ratelimited"}', retry_after="3"),
            (Retry, Failure.RATE_LIMITED, 3.0),
        ),
        (Fault(200, '{"ok":false,"error":"fatal_error"}'), (Retry, Failure.SERVER_ERROR, None)),
        (Fault(500), (Retry, Failure.SERVER_ERROR, None)),
        (Fault(0), (Retry, Failure.UNREACHABLE, None)),
        (Fault(200, '{"ok":false,"error":"not_in_channel"}'), (Final, Failure.REJECTED, None)),
        (Fault(200, '{"ok":false}'), (Final, Failure.REJECTED, None)),
        (Fault(200, "ok"), (Final, Failure.UNEXPECTED_ANSWER, None)),
        (Fault(200, '{"ok":true}'), (Final, Failure.UNEXPECTED_ANSWER, None)),
        (Fault(200, '{"ok":1,"error":"x"}'), (Final, Failure.UNEXPECTED_ANSWER, None)),
        (Fault(302), (Final, Failure.REJECTED, None)),
    ],
)
async def test_answers_mean_what_slack_says_they_mean(
    channel: Channel, fault: Fault, expected: tuple[type, Failure, float | None]
) -> None:
    channel.slack.fail("slack_bot", [fault])
    result = await channel.send(told(alert()))
    assert isinstance(result, (Retry, Final))
    after_s = result.after_s if isinstance(result, Retry) else None
    assert (type(result), result.reason, after_s) == expected


async def test_a_wrong_token_is_final_and_shown_nowhere(channel: Channel) -> None:
    result = await channel.send(told(alert()), token="xoxb-wrong-and-secret")
    assert isinstance(result, Final)
    assert result.detail == "invalid_auth"


async def test_messages_too_close_together_are_rate_limited() -> None:
    with LocalReceivers(slack_interval_s=60.0) as slack:
        channel = Channel(slack)
        assert isinstance(await channel.send(told(alert())), Delivered)
        assert await channel.send(told(alert())) == Retry(
            Failure.RATE_LIMITED, '429 {"ok":false,"error":"ratelimited"}', 1.0
        )


@pytest.mark.parametrize("reference", [None, "", "C1", "C1/", "/1.1", "<mail@id>"])
def test_a_reference_of_somebody_else_is_none(reference: str | None) -> None:
    assert Posted.read(reference) is None

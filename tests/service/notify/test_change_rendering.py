"""What is said of changes of the configuration and of launches: golden files, and every limit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Approval, Control
from service.demo import vendor_rules
from service.notify.notification import Change, Notification
from service.notify.pagerduty import render as pagerduty
from service.notify.slack import render as slack
from service.notify.slack_bot import render as slack_bot
from service.notify.tidings import Tidings
from service.notify.trail import MAX_KEPT, Trail, sum_up
from service.notify.webhook import render as webhook
from service.rules.config_signature import Signatures
from service.rules.feedback import tuning_name
from tests.service.notify.edits import HOUR, Writer, launch, tuning
from tests.service.notify.support import NOW, labels, texts, told
from tests.service.notify.test_rendering import KEY, golden

APPROVAL = Approval(
    name="p1", proposal="p1", decision="no", author="ada", expires_at=NOW + HOUR, reason="a launch"
)


def tidings(*changes: tuple[dict[str, Any], Sequence[Control | str]]) -> list[Tidings]:
    """What is told of changes that are a minute apart."""
    trail, writer = Trail(Signatures("config", {})), Writer()
    for number, (how, records) in enumerate(changes):
        at: datetime = how.get("at", NOW + timedelta(minutes=number))
        for entry in writer.write(at, *records, **{name: how[name] for name in how if name != "at"}):
            trail.hear(entry)
    return list(trail.tidings())


def latest(*changes: tuple[dict[str, Any], Sequence[Control | str]]) -> Tidings:
    """The last of them, with what was there before."""
    return [one for one in tidings(*changes) if one.edits][-1]


def change(of: Tidings) -> Notification:
    """What a receiver of changes is handed."""
    return told(
        occasion="changes",
        group="changes",
        labels=(),
        incident="changes-1769868540000000",
        changes=frozenset({Change.CHANGED}),
        tidings=of,
    )


OLD: tuple[dict[str, Any], list[Control | str]] = (
    {"at": NOW - HOUR},
    [tuning("search", 5.0), tuning("customers"), launch(starts_at=NOW - HOUR / 2)],
)
BY_BUTTON: dict[str, Any] = {
    "by": "callbacks",
    "reason": "pressed in Slack on incident 5b0c6f1d2e3a49788a61c0de",
}
SAID: dict[str, Any] = {
    "by": "callbacks",
    "author": "grace",
    "reason": "grace said not_worth_it of 9f2c64b1d0aa4e17",
}
TIDINGS: dict[str, Tidings] = {
    "change-of-three-records": latest(
        OLD,
        (
            {"reason": "search is calmer"},
            [tuning("search", 8.0, author="ada"), tuning("new", workflow="batch-*"), "tuning/customers"],
        ),
    ),
    "change-by-hostile-names": latest(
        (
            {"author": "<!channel> & *friends*", "reason": "</b> \u202e `now`"},
            [launch("l&1", workflow="<@U1>|x", owner="*eve*", starts_at=NOW)],
        )
    ),
    "change-past-the-command": latest(OLD, ({"command": "seen", "author": None}, ["tuning/search"])),
    "change-by-rollback": latest(OLD, ({"command": "rollback"}, [tuning("search", 1.0)])),
    "change-of-signatures": latest(OLD, ({"command": "sign"}, OLD[1])),
    "change-by-a-button": latest((BY_BUTTON, [launch("slack-1", starts_at=NOW)])),
    "change-by-an-answer": latest(({"author": None}, [APPROVAL])),
    "change-by-feedback": latest((SAID, [tuning(tuning_name("chat"), 2.0, workflow="chat")])),
    "launch-begins": tidings(({"at": NOW - HOUR}, [launch(), launch("second", workflow="chat")]))[1],
    "launch-is-over": tidings(({"at": NOW - HOUR}, [launch(unit_cost_usd=Decimal("0.012"))]))[2],
    "launch-is-cancelled": latest(OLD, ({"reason": "the site is down"}, ["launch/spring"])),
    "changes-of-a-night": sum_up(
        tidings(
            *(({"author": f"a{n}", "at": NOW + n * HOUR}, [tuning("a", n), launch()]) for n in range(6)),
        ),
        NOW - HOUR,
        cut=False,
    ),
}


@pytest.mark.parametrize("name", TIDINGS)
def test_change_events_of_pagerduty_are_as_agreed(name: str) -> None:
    request = pagerduty.render(change(TIDINGS[name]), KEY)
    assert request.path == "/v2/change/enqueue"
    assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
    golden(f"pagerduty-{name}", orjson.loads(request.body))


@pytest.mark.parametrize("name", ["change-by-hostile-names", "launch-begins"])
def test_slack_is_told_of_changes_in_a_line(name: str) -> None:
    body = slack.render(change(TIDINGS[name]))
    assert vendor_rules.slack(body, "application/json") == []
    golden(f"slack-{name}", orjson.loads(body))


@pytest.mark.parametrize("name", ["change-of-three-records", "launch-begins", "changes-of-a-night"])
def test_what_webhooks_are_told_of_changes_is_as_agreed(name: str) -> None:
    golden(f"webhook-{name}", orjson.loads(webhook.body(change(TIDINGS[name]))))


# A key's slash belongs to it; names of records may be anything else a label may be.
names = labels.map(lambda name: name.replace("/", "-"))
entries = st.lists(
    st.tuples(
        st.integers(0, 10_000),
        st.one_of(
            st.builds(
                tuning, names, st.floats(0, 1_000), workflow=st.none() | labels, reason=st.none() | texts
            ),
            st.builds(launch, names, workflow=labels, owner=labels, author=st.none() | labels),
        ),
        st.fixed_dictionaries(
            {
                "author": st.none() | labels,
                "reason": st.none() | texts,
                "command": st.sampled_from(["apply", "delete", "rollback", "sign", "seen"]),
                "by": st.sampled_from(["cli", "callbacks"]),
            }
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(entries)
def test_no_change_breaks_a_rule_of_any_vendor(
    found: list[tuple[int, Control, dict[str, Any]]],
) -> None:
    parts = tidings(*(({**how, "at": NOW + timedelta(seconds=at)}, [record]) for at, record, how in found))
    for one in (*parts, sum_up(parts, NOW, cut=True)):
        said = change(one)
        request = pagerduty.render(said, KEY)
        assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
        assert vendor_rules.slack(slack.render(said), "application/json") == []
        assert b"tidegate_" not in slack_bot.message(said, "C1")  # nothing to press
        assert orjson.loads(webhook.body(said))["occasion"] == "changes"


@pytest.mark.parametrize("character", ["&", "<", "😀", '"', "\\", "\u202e", "\u00a0"])
def test_changes_of_nothing_but_long_characters_fit(character: str) -> None:
    longest = character * 200
    records: list[Control | str] = [
        launch(f"{n:03}" + longest[3:], workflow=longest, owner=longest, starts_at=NOW - HOUR)
        for n in range(MAX_KEPT)
    ]
    one = latest(({"author": longest, "reason": character * 4_000}, records))
    for said in (change(one), change(sum_up([one], NOW, cut=True))):
        request = pagerduty.render(said, KEY)
        assert vendor_rules.pagerduty(request.path, request.body, KEY) == []
        assert len(request.body) <= pagerduty.MAX_BYTES
        assert vendor_rules.slack(slack.render(said), "application/json") == []


def test_a_change_names_nobody_who_wrote_past_the_command() -> None:
    summary = orjson.loads(pagerduty.render(change(TIDINGS["change-past-the-command"]), KEY).body)["payload"]
    assert "Somebody, past tidegate config, deleted tuning/search." in summary["summary"]

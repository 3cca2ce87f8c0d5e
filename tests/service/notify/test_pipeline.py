"""Who is told, and when not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert, Severity
from schemas.control import Match, Route, Silence
from service.notify.pipeline import Mute, RetryPolicy, Routing, backoff, matches, repeat, route, silenced
from tests.service.notify.support import MINUTE, NOW, alert, entry, resolved

RECEIVERS: dict[str, Severity] = {"slack": "info", "pager": "critical", "mail": "warning"}
HOURS_4 = timedelta(hours=4)


def a_route(*receivers: str, **match: Any) -> Route:
    return Route(name="r", match=Match(**match), receivers=list(receivers))


def a_silence(**match: Any) -> Silence:
    return Silence(
        name="load-test",
        match=Match(**match),
        starts_at=NOW - MINUTE,
        ends_at=NOW + MINUTE,
        author="ops",
        reason="test",
    )


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        (Match(), True),
        (Match(workflow="support-*"), True),
        (Match(workflow="Support-*"), False),
        (Match(workflow="chat"), False),
        (Match(team="ca*"), True),
        (Match(team="growth"), False),
        (Match(kinds=["retry_loop", "creep"]), True),
        (Match(kinds=["creep"]), False),
        (Match(severities=["warning"]), False),
        (Match(workflow="support-agent", severities=["critical"], team="care", kinds=["retry_loop"]), True),
    ],
)
def test_a_match_needs_all_that_it_names(match: Match, hit: bool) -> None:
    assert matches(match, alert()) is hit


def test_a_team_pattern_never_matches_an_alert_without_a_team() -> None:
    assert not matches(Match(team="*"), alert(team=None))


@pytest.mark.parametrize(
    ("routes", "severity", "expected"),
    [
        ([], "critical", Routing(("mail", "pager", "slack"))),
        ([], "info", Routing(("slack",), ("mail", "pager"))),
        ([a_route("slack", workflow="chat")], "critical", Routing(("mail", "pager", "slack"))),
        ([a_route("slack")], "critical", Routing(("slack",))),
        ([a_route("slack"), a_route("pager", team="care")], "critical", Routing(("pager", "slack"))),
        ([a_route("pager")], "warning", Routing((), ("pager",))),
        ([a_route("slack", "gone")], "critical", Routing(("slack",), (), ("gone",))),
        ([a_route("gone")], "critical", Routing(("mail", "pager", "slack"), (), ("gone",))),
    ],
    ids=[
        "no route is everybody",
        "everybody who wants so little",
        "a route for others is none",
        "only whom the route names",
        "all matching routes together",
        "routed but below",
        "unknown beside known",
        "only unknown is everybody",
    ],
)
def test_routes_choose_receivers(routes: list[Route], severity: Severity, expected: Routing) -> None:
    assert route(alert(severity=severity), routes, RECEIVERS) == expected


def test_the_end_reaches_whoever_heard_of_the_beginning() -> None:
    over = resolved(severity="info")
    assert route(over, [a_route("slack")], RECEIVERS, ["pager"]).receivers == ("pager", "slack")
    assert route(over, [a_route("slack")], RECEIVERS, ["removed"]).receivers == ("slack",)


def test_while_it_fires_only_the_routes_count() -> None:
    assert route(alert(), [a_route("slack")], RECEIVERS, ["pager"]).receivers == ("slack",)


@pytest.mark.parametrize(
    ("silence", "told"),
    [
        (a_silence(), "load-test"),
        (a_silence(workflow="support-*"), "load-test"),
        (a_silence(workflow="chat"), None),
        (a_silence().model_copy(update={"ends_at": NOW}), None),
        (a_silence().model_copy(update={"starts_at": NOW}), "load-test"),
        (a_silence().model_copy(update={"starts_at": NOW + MINUTE}), None),
    ],
)
def test_a_silence_holds_what_it_matches_while_it_lasts(silence: Silence, told: str | None) -> None:
    assert silenced(alert(), [silence], NOW) == told


def test_a_silence_lets_the_end_through() -> None:
    assert silenced(resolved(), [a_silence()], NOW) is None


@pytest.mark.parametrize(
    ("heard", "now_says", "later", "mute"),
    [
        (None, alert(), MINUTE, None),
        (None, resolved(), MINUTE, Mute.NEVER_TOLD),
        (alert(), alert(), MINUTE, Mute.DUPLICATE),
        (alert(), alert(sequence=2), MINUTE, Mute.DUPLICATE),
        (alert(), alert(sequence=2), HOURS_4, None),
        (alert(), alert(sequence=1), HOURS_4, Mute.DUPLICATE),
        (alert(severity="warning"), alert(sequence=2), MINUTE, None),
        (alert(), alert(sequence=2, severity="warning"), MINUTE, None),
        (alert(), resolved(), MINUTE, None),
        (alert(), resolved(severity="info"), MINUTE, None),
        (resolved(), resolved(sequence=10), HOURS_4, Mute.DUPLICATE),
        (resolved(), resolved(sequence=10, severity="info"), MINUTE, Mute.DUPLICATE),
        (resolved(), alert(sequence=3), MINUTE, Mute.DUPLICATE),
        (resolved(), alert(sequence=10), MINUTE, None),
    ],
    ids=[
        "news",
        "over, and never heard of",
        "read again after a restart",
        "still firing",
        "a reminder after four hours",
        "no reminder from an old record",
        "it got worse",
        "it got better",
        "it is over",
        "it calmed down and is over",
        "over stays over",
        "over whatever its severity",
        "an old record after the end",
        "it began again",
    ],
)
def test_nobody_is_told_twice(
    heard: Alert | None, now_says: Alert, later: timedelta, mute: Mute | None
) -> None:
    told = None if heard is None else entry(heard)
    assert repeat(now_says, told, NOW + later, HOURS_4) == mute


POLICY = RetryPolicy(max_attempts=8, initial_s=1.0, max_s=60.0)


@pytest.mark.parametrize(("attempts", "longest"), [(1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (1_000, 60.0)])
def test_waits_double_up_to_the_maximum(attempts: int, longest: float) -> None:
    assert backoff(POLICY, attempts, None, 0.0) == longest
    assert backoff(POLICY, attempts, None, 1.0) == longest / 2


@given(st.integers(1, 200), st.none() | st.floats(0, 3_600), st.floats(0, 1))
def test_a_wait_is_never_shorter_than_asked_for(attempts: int, after_s: float | None, chance: float) -> None:
    wait_s = backoff(POLICY, attempts, after_s, chance)
    assert wait_s >= max(after_s or 0.0, 0.5)
    assert wait_s <= max(after_s or 0.0, 60.0)

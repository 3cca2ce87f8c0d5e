"""The script of a week: three incidents, two launches, a budget that burns and forty signals that flap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from schemas.alerts import Alert, Verdict
from schemas.control import (
    Control,
    Daily,
    Escalation,
    Interval,
    Launch,
    Maintenance,
    Match,
    ReceiverPolicy,
    Route,
    Silence,
)
from schemas.notifications import Acknowledgement
from schemas.throttles import ThrottleEvent
from service.demo.receivers import Vendor
from tests.service.notify.support import alert, measure

START: Final = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
END: Final = START + timedelta(days=7)
FLAPPING: Final = 40
GOLDEN: Final = Path(__file__).parent / "golden" / "week.txt"
VENDORS: Final[tuple[Vendor, ...]] = ("webhook", "pagerduty", "slack")
RECEIVERS: Final[dict[Vendor, str]] = {"webhook": "hook", "pagerduty": "pager", "slack": "slack"}


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is published at a time."""

    at: datetime
    record: Alert | Acknowledgement | ThrottleEvent


def at(day: int, clock: str, seconds: float = 0.0) -> datetime:
    """`day` 0 is Monday."""
    hours, _, minutes = clock.partition(":")
    return START + timedelta(days=day, hours=int(hours), minutes=int(minutes), seconds=seconds)


def described(vendor: Vendor, when: datetime, body: Mapping[str, Any]) -> str:
    """One line of the golden file: when and what a vendor was told, by the body of the request."""
    head = f"{when:%a %H:%M} {RECEIVERS[vendor]:<5} "
    if vendor == "slack":
        return head + str(body["blocks"][0]["text"]["text"])
    if vendor == "pagerduty":
        summary = str(body["payload"]["summary"]).partition(". ")[0]
        return f"{head}{body.get('event_action', 'change')}: {summary}"
    news = " ".join(
        f"{'-' if line['change'] == 'resolved' else '+'}{line['fingerprint']}"
        for line in sorted(body["alerts"], key=lambda line: str(line["fingerprint"]))
        if line["change"] is not None
    )
    return f"{head}{','.join(body['changes'])}: {news}".rstrip(": ")


CONFIG_RECORDS: Final[tuple[Control, ...]] = (
    Route(
        name="all",
        receivers=["slack", "hook"],
        escalate=[Escalation(after_s=1_800, receivers=["pager"])],
    ),
    Route(
        name="pages",
        parent="all",
        match=Match(severities=["critical"]),
        receivers=["slack", "hook", "pager"],
        escalate=[],
    ),
    Route(name="notices", parent="all", match=Match(severities=["info"]), escalate=[]),
    Route(name="flapping", parent="all", match=Match(team="search"), receivers=["hook"], escalate=[]),
    ReceiverPolicy(name="slack", daily=Daily(at="09:00", timezone="Europe/Berlin")),
    Maintenance(
        name="nightly",
        match=Match(team="data"),
        timezone="Europe/Berlin",
        intervals=[Interval(weekdays=["wednesday"], start="23:30", end="00:30")],
    ),
    Silence(
        name="load-test",
        match=Match(workflow="loadtest-*"),
        starts_at=at(0, "12:00"),
        ends_at=at(0, "12:20"),
        author="ops",
        reason="a load test",
    ),
    Launch(
        name="spring",
        workflow="shop-assistant",
        starts_at=at(4, "09:00"),
        ends_at=at(4, "18:00"),
        volume_multiple=20,
        cap_usd=Decimal(4_000),
        owner="ada@example.com",
    ),
)


def week() -> list[Step]:
    """All of it, in no order."""
    return [
        *_acknowledged_loop(),
        *_load_test(),
        *_growth_that_worsens(),
        *_dear_night(),
        *_batch_at_night(),
        *_launches(),
        *_budget(),
        *_flapping(),
    ]


def _of(fingerprint: str, begin: datetime, **fields: Any) -> Alert:
    """A ticket of a workflow, that began when it is first told."""
    found = {
        "severity": "warning",
        "verdict": Verdict(detector="unit_cost", score=8.0, threshold=4.0),
        "sequence": 1,
        "team": "care",
        **fields,
    }
    return alert(fingerprint=fingerprint, started_at=begin, fired_at=begin, updated_at=begin, **found)


def _later(before: Alert, moment: datetime, **fields: Any) -> Alert:
    over = fields.get("status") == "resolved"
    return before.model_copy(
        update={
            "sequence": before.sequence + 1,
            "updated_at": moment,
            "resolved_at": moment if over else None,
            "cost_nanos": before.cost_nanos + 1_000_000_000,
            **fields,
        }
    )


def _course(first: Alert, *later: tuple[datetime, dict[str, Any]]) -> list[Step]:
    """One alert from its first record on, said again every hour while nothing changes, as detect does."""
    steps, known = [Step(first.updated_at, first)], first
    for moment, fields in later:
        while known.updated_at + timedelta(hours=1) < moment:
            known = _later(known, known.updated_at + timedelta(hours=1))
            steps.append(Step(known.updated_at, known))
        known = _later(known, moment, **fields)
        steps.append(Step(moment, known))
    return steps


_OVER: Final[dict[str, Any]] = {"status": "resolved"}


def _acknowledged_loop() -> list[Step]:
    """Monday: a page that somebody takes, and whose trace is blocked."""
    loop = _of(
        "loop",
        at(0, "10:00"),
        severity="critical",
        verdict=Verdict(detector="live_trace", score=9, threshold=4),
    )
    taken = Acknowledgement(fingerprint="loop", author="ada@example.com", at=at(0, "10:05"), via="cli")
    blocked = measure("started", at(0, "10:06"), alert_fingerprint="loop")
    let_go = measure("releasing", at(0, "15:57"), alert_fingerprint="loop")
    return [
        *_course(loop, (at(0, "16:00"), _OVER)),
        *(Step(at(0, "10:05"), taken), Step(blocked.at, blocked), Step(let_go.at, let_go)),
    ]


def _load_test() -> list[Step]:
    """Monday noon: one is over within its silence, the other goes on after it."""
    short = _of("short", at(0, "12:05"), workflow="loadtest-a", kind="creep")
    long = _of("long", at(0, "12:05"), workflow="loadtest-b", kind="creep")
    return [*_course(short, (at(0, "12:15"), _OVER)), *_course(long, (at(0, "12:40"), _OVER))]


def _growth_that_worsens() -> list[Step]:
    """Tuesday: a ticket nobody takes, that becomes a page."""
    growth = _of("growth", at(1, "14:00"), kind="context_growth", team="growth", workflow="writer")
    worse = {"severity": "critical"}
    return _course(growth, (at(1, "15:10"), worse), (at(1, "21:00"), _OVER))


def _dear_night() -> list[Step]:
    """Thursday night: a workflow's incident, its trace, and another workflow of the team."""
    begin = at(3, "03:00")
    whole = _of(
        "whole", begin, kind="cost_per_trace", severity="critical", team="platform", workflow="agents"
    )
    trace = _of(
        "trace",
        begin + timedelta(seconds=2),
        kind="runaway_trace",
        severity="critical",
        team="platform",
        workflow="agents",
        verdict=Verdict(detector="live_trace", score=9, threshold=4),
    )
    second = _of(
        "second",
        begin + timedelta(seconds=20),
        kind="cost_per_trace",
        severity="critical",
        team="platform",
        workflow="reviews",
    )
    return [
        *_course(whole, (at(3, "04:00"), _OVER)),
        *_course(trace, (at(3, "03:50"), _OVER)),
        *_course(second, (at(3, "04:30"), _OVER)),
    ]


def _batch_at_night() -> list[Step]:
    """Wednesday night: within a maintenance window, and still there after it."""
    batch = _of("batch", at(2, "22:45"), kind="output_growth", team="data", workflow="batch")
    return _course(batch, (at(3, "00:10"), _OVER))


def _launches() -> list[Step]:
    """Wednesday one that nobody announced, Friday one that is: its newcomers are no news."""
    surprise = _of("surprise", at(2, "09:00"), kind="launch", severity="info", team="growth", workflow="chat")
    spring = _of(
        "spring", at(4, "09:30"), kind="launch", severity="info", team="shop", workflow="shop-assistant"
    )
    newcomer = _of("newcomer", at(4, "17:45"), kind="new_customer", team="shop", workflow="shop-assistant")
    return [
        *_course(surprise, (at(2, "18:00"), _OVER)),
        *_course(spring, (at(4, "18:30"), _OVER)),
        *_course(newcomer, (at(4, "17:55"), _OVER)),
    ]


def _budget() -> list[Step]:
    """Saturday: too fast, then used up, until the window ends."""
    about = {"team": "care", "workflow": "team care", "budget": "care-day"}
    pace = _of(
        "pace",
        at(5, "08:00"),
        kind="budget_pace",
        verdict=Verdict(detector="budget.pace", score=1, threshold=0.7),
        **about,
    )
    spent = _of(
        "spent",
        at(5, "15:00"),
        kind="budget_exhausted",
        severity="critical",
        verdict=Verdict(detector="budget.hard", score=1, threshold=1),
        **about,
    )
    return [*_course(pace, (at(6, "00:00"), _OVER)), *_course(spent, (at(6, "00:00"), _OVER))]


def _flapping() -> list[Step]:
    """Friday night: forty signals of one team that come and go within a minute or two."""
    steps = []
    for number in range(FLAPPING):
        begin = at(4, "20:00", 97.0 * number)
        lasts = timedelta(seconds=20 + 13 * (number % 9))
        flap = _of(
            f"flap-{number:02}", begin, kind="unusual_pattern", team="search", workflow=f"search-{number % 5}"
        )
        steps += _course(flap, (begin + lasts, _OVER))
    return steps

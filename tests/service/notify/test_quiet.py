"""When nobody is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import DimensionEvidence, Evidence, Verdict
from schemas.control import Inhibit, Interval, Launch, Maintenance, Match, Side, Silence
from schemas.decode import validate
from schemas.rollups import Watched
from service.notify.inhibition import DEFAULTS, in_force, inhibitor
from service.notify.quiet import Mute, in_maintenance, quiet
from tests.service.notify.support import MINUTE, NOW, alert


def a_silence(**changed: Any) -> Silence:
    return Silence(
        name="load-test",
        match=Match(**changed.pop("match", {})),
        **{"starts_at": NOW - MINUTE, "ends_at": NOW + MINUTE, "author": "ops", "reason": "test", **changed},
    )


@pytest.mark.parametrize(
    ("silence", "mute"),
    [
        (a_silence(), Mute.SILENCED),
        (a_silence(match={"workflow": "support-*"}), Mute.SILENCED),
        (a_silence(match={"workflow": "chat"}), None),
        (a_silence(ends_at=NOW), None),
        (a_silence(starts_at=NOW), Mute.SILENCED),
        (a_silence(starts_at=NOW + timedelta(seconds=1)), None),
    ],
)
def test_a_silence_holds_what_it_matches_while_it_lasts(silence: Silence, mute: Mute | None) -> None:
    assert quiet(alert(), NOW, silences=[silence]) == mute


def window(zone: str = "UTC", **interval: Any) -> Maintenance:
    return Maintenance(name="m", timezone=zone, intervals=[validate(Interval, interval)])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("maintenance", "moment", "inside"),
    [
        (window(), "2026-03-04T12:00", True),
        (window(start="09:00", end="17:00"), "2026-03-04T09:00", True),
        (window(start="09:00", end="17:00"), "2026-03-04T16:59", True),
        (window(start="09:00", end="17:00"), "2026-03-04T17:00", False),
        # 2026-03-04 is a Wednesday.
        (window(weekdays=["wednesday"]), "2026-03-04T23:59", True),
        (window(weekdays=["thursday"]), "2026-03-04T23:59", False),
        # Over midnight the day is the one on which it begins.
        (window(weekdays=["wednesday"], start="22:00", end="04:00"), "2026-03-05T03:59", True),
        (window(weekdays=["wednesday"], start="22:00", end="04:00"), "2026-03-04T03:59", False),
        (window(weekdays=["wednesday"], start="22:00", end="04:00"), "2026-03-05T04:00", False),
        (window("Europe/Berlin", start="09:00", end="10:00"), "2026-03-04T08:30", True),
        (window("Europe/Berlin", start="09:00", end="10:00"), "2026-07-04T07:30", True),
        (window("Europe/Berlin", start="09:00", end="10:00"), "2026-07-04T08:30", False),
        (window("America/New_York", weekdays=["tuesday"]), "2026-03-04T03:00", True),
        (window(days_of_month=[-1]), "2026-02-28T12:00", True),
        (window(days_of_month=[-1]), "2028-02-28T12:00", False),
        (window(days_of_month=[1, 15]), "2026-02-15T12:00", True),
        (window(months=[12]), "2026-03-04T12:00", False),
    ],
)
def test_a_window_is_meant_by_the_clocks_of_its_place(
    maintenance: Maintenance, moment: str, inside: bool
) -> None:
    assert in_maintenance(maintenance, at(moment)) is inside


@given(st.integers(0, 4_000_000_000), st.integers(0, 23), st.integers(1, 24))
def test_a_window_and_the_rest_of_the_day_leave_no_gap(moment: int, start: int, end: int) -> None:
    now = datetime.fromtimestamp(moment, UTC)
    if start != end:
        inside = in_maintenance(window(start=f"{start:02}:00", end=f"{end:02}:00"), now)
        outside = in_maintenance(window(start=f"{end % 24:02}:00", end=f"{start or 24:02}:00"), now)
        assert inside is not outside or (start == 0 and end == 24)


def test_a_window_is_about_what_it_matches() -> None:
    mine = window().model_copy(update={"match": Match(team="data")})
    assert quiet(alert(), NOW, maintenances=[mine]) is None
    assert quiet(alert(team="data"), NOW, maintenances=[mine]) is Mute.MAINTENANCE


LAUNCH = Launch(
    name="spring",
    workflow="support-*",
    starts_at=NOW,
    ends_at=NOW + timedelta(hours=2),
    volume_multiple=20,
    cap_usd="4000",  # type: ignore[arg-type]  # read as the wire has it
    owner="ada",
)


@pytest.mark.parametrize(
    ("changed", "mute"),
    [
        ({"kind": "new_customer", "severity": "warning"}, Mute.LAUNCH),
        ({"kind": "new_api_key", "severity": "info"}, Mute.LAUNCH),
        ({"kind": "new_customer", "severity": "critical"}, None),
        ({"kind": "launch", "severity": "info"}, None),
        ({"kind": "retry_loop", "severity": "warning"}, None),
        ({"kind": "new_customer", "severity": "warning", "workflow": "chat"}, None),
    ],
)
def test_a_launch_brings_newcomers_and_excuses_nothing_else(
    changed: dict[str, Any], mute: Mute | None
) -> None:
    assert quiet(alert(**changed), NOW, launches=[LAUNCH]) is mute
    assert quiet(alert(**changed), NOW + timedelta(hours=2), launches=[LAUNCH]) is None


def budget(kind: str, name: str, **changed: Any) -> Any:
    found = Verdict(detector="budget.pace" if kind == "budget_pace" else "budget.hard", score=1, threshold=1)
    fields = {"fingerprint": f"{kind}-{name}", "verdict": found, "team": None, "budget": name, **changed}
    return alert(kind=kind, workflow="organisation", **fields)


def slice_(dimension: Any, value: str, share: float, excess: float | None = None) -> Evidence:
    found = DimensionEvidence(
        dimension=dimension, value=value, calls=1, cost_nanos=1, share=share, excess_share=excess
    )
    return Evidence(top=[found])


def incident(**changed: Any) -> Any:
    found = Verdict(detector="unit_cost", score=1, threshold=1)
    return alert(**{"fingerprint": "incident", "verdict": found, "evidence": Evidence(), **changed})


TRACE = alert(fingerprint="trace")
CUSTOMER = incident(
    fingerprint="customer",
    workflow="customer acme",
    scope=Watched(kind="customer", value="acme"),
    severity="warning",
)


def test_a_used_up_budget_silences_its_own_pace() -> None:
    exhausted, pace = budget("budget_exhausted", "day"), budget("budget_pace", "day", severity="warning")
    assert inhibitor(pace, [exhausted], DEFAULTS) is not None
    assert inhibitor(pace, [budget("budget_exhausted", "month")], DEFAULTS) is None
    assert inhibitor(exhausted, [pace], DEFAULTS) is None


def test_a_workflow_s_incident_silences_its_traces() -> None:
    assert inhibitor(TRACE, [incident()], DEFAULTS) is not None
    assert inhibitor(TRACE, [incident(workflow="chat")], DEFAULTS) is None
    assert inhibitor(incident(), [TRACE], DEFAULTS) is None


def test_a_workflow_s_incident_silences_a_customer_whose_calls_are_within() -> None:
    named_by_the_customer = CUSTOMER.model_copy(update={"evidence": slice_("workflow", "support-agent", 0.9)})
    assert inhibitor(named_by_the_customer, [incident()], DEFAULTS) is not None
    named_by_the_workflow = incident(evidence=slice_("customer", "acme", 0.9, 0.95))
    assert inhibitor(CUSTOMER, [named_by_the_workflow], DEFAULTS) is not None


@pytest.mark.parametrize(
    "source",
    [
        incident(),
        incident(evidence=slice_("customer", "acme", 0.9)),
        incident(evidence=slice_("customer", "other", 0.9, 0.9)),
        incident(kind="launch", severity="critical", evidence=slice_("customer", "acme", 0.9, 0.9)),
    ],
    ids=["nobody names the other", "much of the spend, not of the excess", "another customer", "a launch"],
)
def test_what_only_happens_at_the_same_time_silences_nobody(source: Any) -> None:
    assert inhibitor(CUSTOMER, [source], DEFAULTS) is None


def test_a_ticket_never_silences_a_page() -> None:
    assert inhibitor(TRACE, [incident(severity="warning")], DEFAULTS) is None


def test_nothing_silences_itself() -> None:
    rule = Inhibit(name="all", source=Side(), target=Side())
    assert inhibitor(alert(), [alert()], [rule]) is None


def test_a_label_that_neither_has_is_not_in_common() -> None:
    rule = Inhibit(name="r", source=Side(kinds=["creep"]), target=Side(), equal=["team"])
    source = alert(fingerprint="s", kind="creep", team=None)
    assert inhibitor(alert(team=None), [source], [rule]) is None
    assert inhibitor(alert(team="care"), [source.model_copy(update={"team": "care"})], [rule]) is not None


def test_a_record_of_its_name_takes_a_built_in_rule_s_place() -> None:
    off = DEFAULTS[1].model_copy(update={"enabled": False})
    assert [rule.name for rule in in_force([off])] == ["budget-exhausted"]
    assert inhibitor(TRACE, [incident()], in_force([off])) is None

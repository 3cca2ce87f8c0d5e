"""What is told when, to whom: a desk and its outboxes in manual time."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from schemas.alerts import Verdict
from schemas.control import Cap, Escalation, Maintenance, Match, Owner, ReceiverPolicy, Route, Silence
from schemas.decode import validate
from schemas.feedback import Feedback
from schemas.throttles import ThrottleChange
from service.notify import template
from service.notify.board import STALE, Source
from service.notify.notification import NEWS, Change
from service.notify.template import Link
from service.rules.config import WorkflowConfig
from service.rules.feedback import tuning
from tests.service.notify.support import NOW, Scene, Sent, alert, measure, resolved

HOUR = 3_600
ACKS = frozenset(Change)


def ticket(fingerprint: str, **changed: Any) -> Any:
    return alert(**{"fingerprint": fingerprint, "severity": "warning", **changed})


def over(fingerprint: str, **changed: Any) -> Any:
    return resolved(**{"fingerprint": fingerprint, **changed})


def slack(*records: Any, **options: Any) -> Scene:
    return Scene({"slack": "info"}, *records, **options)


def told(at: float, why: str, firing: str = "", end: str = "", to: str = "slack") -> Sent:
    return Sent(at, to, why, firing, end)


# --- groups -----------------------------------------------------------------------------------------------


def test_a_page_is_told_at_once() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    assert scene.story == [told(0, "opened", "a")]


def test_a_ticket_waits_for_what_belongs_to_it() -> None:
    scene = slack()
    scene.say(ticket("a"))
    scene.wait(20)
    scene.say(ticket("b", workflow="chat"), ticket("c", team="growth"))
    scene.wait(60)
    assert scene.story == [told(30, "opened", "a b"), told(50, "opened", "c")]


def test_what_is_over_before_its_group_s_wait_is_told_to_nobody() -> None:
    scene = slack()
    scene.say(ticket("a"))
    scene.wait(20)
    scene.say(over("a", severity="warning"))
    scene.wait(HOUR)
    assert scene.story == []
    assert len(scene.desk.board) == 0


def test_changes_within_an_incident_keep_their_distance() -> None:
    scene = slack()
    scene.say(ticket("a"))
    scene.wait(60)
    scene.say(ticket("b"))
    scene.wait(30)
    scene.say(ticket("c"))
    scene.wait(HOUR)
    assert scene.story == [told(30, "opened", "a"), told(330, "joined", "b c")]


def test_a_further_page_within_an_incident_waits_a_few_seconds_only() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.wait(1)
    scene.say(alert(fingerprint="b"), alert(fingerprint="c"))
    scene.wait(HOUR)
    assert scene.story == [told(0, "opened", "a"), told(15, "joined", "b c")]


def test_it_got_worse_is_news_and_it_got_better_is_none() -> None:
    scene = slack()
    scene.say(ticket("a"))
    scene.wait(100)
    scene.say(ticket("a", severity="critical", sequence=2))
    scene.wait(100)
    scene.say(ticket("a", sequence=3))
    scene.wait(100)
    scene.say(ticket("a", severity="critical", sequence=4))
    scene.wait(600)
    assert scene.story == [told(30, "opened", "a"), told(100, "worsened", "a")]


def test_records_of_the_same_state_are_no_news() -> None:
    scene = slack()
    for sequence in range(1, 200):
        scene.say(alert(fingerprint="a", sequence=sequence, cost_nanos=sequence))
        scene.wait(60)
    assert scene.story == [told(0, "opened", "a")]


def test_a_reminder_after_four_hours_with_the_newest_numbers() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.wait(2 * HOUR)
    scene.say(alert(fingerprint="a", sequence=2, cost_nanos=99))
    scene.wait(3 * HOUR)
    assert [sent.why for sent in scene.story] == ["opened", "repeated"]
    assert scene.story[1].at == 4 * HOUR
    assert scene.sent[1].firing[0].alert.cost_nanos == 99
    assert (scene.sent[0].incident, scene.sent[0].sequence) == (scene.sent[1].incident, 1)
    assert scene.sent[1].sequence == 2


def test_the_end_of_the_last_one_is_told_soon_and_says_what_it_cost() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"), alert(fingerprint="b"))
    scene.wait(100)
    scene.say(over("a"))
    scene.wait(10)
    scene.say(over("b", cost_nanos=5))
    scene.wait(HOUR)
    assert scene.story == [
        told(0, "opened", "a b"),
        told(110, "resolved", end="a b"),
    ]
    assert scene.sent[-1].over
    assert {line.alert.fingerprint: line.alert.cost_nanos for line in scene.sent[-1].resolved}["b"] == 5


def test_a_group_that_begins_again_is_another_incident() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.wait(60)
    scene.say(over("a"))
    scene.wait(HOUR)
    scene.say(alert(fingerprint="b", started_at=NOW + timedelta(hours=1)))
    keys = [said.incident for said in scene.sent]
    assert keys[0] == keys[1] != keys[2]
    assert scene.sent[2].sequence == 1


def test_what_flaps_is_told_no_oftener_than_its_group_may_be() -> None:
    scene = slack()
    for number in range(40):
        scene.say(ticket(f"flap-{number:02}"))
        scene.wait(45)
        scene.say(over(f"flap-{number:02}", severity="warning"))
        scene.wait(45)
    scene.wait(HOUR)
    assert len(scene.sent) <= 2 * (1 + 40 * 90 // 300)
    begun = [fp for sent in scene.story for fp in sent.firing.split()]
    ended = [fp for sent in scene.story for fp in sent.over.split()]
    assert sorted(begun) == sorted(ended)


def test_the_incident_is_called_the_same_everywhere() -> None:
    scene = Scene({"slack": "info", "pager": "critical"})
    scene.say(ticket("a"))
    scene.wait(60)
    scene.say(alert(fingerprint="b"))
    scene.wait(60)
    assert {said.incident for said in scene.sent if said.receiver == "pager"} == {scene.sent[0].incident}


def test_who_never_heard_of_it_is_not_told_that_it_is_over() -> None:
    scene = Scene({"slack": "info", "pager": "critical"})
    scene.say(ticket("a"))
    scene.wait(60)
    scene.say(over("a", severity="warning"))
    scene.wait(60)
    assert {sent.receiver for sent in scene.story} == {"slack"}


def test_who_heard_of_the_beginning_hears_the_end_whatever_the_routes_say_by_then() -> None:
    scene = Scene({"slack": "info", "pager": "critical"})
    scene.say(alert(fingerprint="a"))
    scene.configure(Route(name="r", receivers=["slack"]))
    scene.wait(60)
    scene.say(over("a"))
    scene.wait(60)
    assert [sent.receiver for sent in scene.story if sent.over] == ["slack", "pager"]


def test_an_old_record_after_the_end_is_no_news() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a", sequence=1))
    scene.wait(60)
    scene.say(over("a", sequence=9))
    scene.wait(60)
    scene.say(alert(fingerprint="a", sequence=3))
    scene.wait(HOUR)
    assert [sent.why for sent in scene.story] == ["opened", "resolved"]


def test_what_nobody_reports_any_more_is_taken_for_over() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.wait(STALE.total_seconds() + HOUR)
    scene.settle()
    scene.wait(60)
    assert scene.story[-1].over == "a"
    assert "Not reported any more" in scene.sent[-1].resolved[0].alert.summary


# --- muted ------------------------------------------------------------------------------------------------


def silence(begin: float, end: float, **match: Any) -> Silence:
    return Silence(
        name="s",
        match=Match(**match),
        starts_at=NOW + timedelta(seconds=begin),
        ends_at=NOW + timedelta(seconds=end),
        author="ops",
        reason="known",
    )


def test_what_still_goes_on_after_a_silence_is_told_then() -> None:
    scene = slack(silence(-60, 600))
    scene.say(alert(fingerprint="a"))
    scene.wait(HOUR)
    assert [(sent.why, sent.firing) for sent in scene.story] == [("opened", "a")]
    assert 600 <= scene.story[0].at <= 630


def test_what_is_over_within_a_silence_is_told_to_nobody() -> None:
    scene = slack(silence(-60, 600))
    scene.say(alert(fingerprint="a"))
    scene.wait(300)
    scene.say(over("a"))
    scene.wait(HOUR)
    assert scene.story == []


def test_what_was_over_within_a_silence_is_no_news_to_whoever_reads_it_again_after_it() -> None:
    scene = slack(silence(-60, 600, workflow="support-agent"))
    # What is owed to a receiver that is down holds the offset back, and with it all that came after.
    scene.down.add("slack")
    scene.say(alert(fingerprint="a", workflow="chat"), alert(fingerprint="b"))
    scene.wait(300)
    scene.say(over("b"))
    scene.wait(600)
    scene.down.clear()
    scene.restart()
    scene.wait(60)
    assert [(sent.why, sent.firing, sent.over) for sent in scene.story] == [("opened", "a", "")]


def test_a_silence_lets_the_end_through_and_no_reminder() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.configure(silence(0, 6 * HOUR))
    scene.wait(5 * HOUR)
    scene.say(over("a"))
    scene.wait(60)
    assert scene.story == [told(0, "opened", "a"), told(5 * HOUR, "resolved", end="a")]


def test_a_maintenance_window_holds_back_until_it_ends() -> None:
    # NOW is 14:09 UTC.
    nightly = validate(
        Maintenance, {"kind": "maintenance", "name": "m", "intervals": [{"start": "14:00", "end": "15:00"}]}
    )
    scene = slack(nightly)
    scene.say(alert(fingerprint="a"))
    scene.wait(2 * HOUR)
    assert [sent.firing for sent in scene.story] == ["a"]
    assert 51 * 60 <= scene.story[0].at <= 51 * 60 + 30


def incident(**changed: Any) -> Any:
    return alert(verdict=Verdict(detector="unit_cost", score=1, threshold=1), **changed)


def test_a_trace_is_told_when_its_workflow_s_incident_ends_and_it_does_not() -> None:
    scene = slack()
    scene.say(incident(fingerprint="whole", kind="cost_per_trace"), alert(fingerprint="trace"))
    scene.wait(600)
    assert scene.story == [told(0, "opened", "whole")]
    scene.say(over("whole", kind="cost_per_trace"))
    scene.wait(60)
    assert [(sent.firing, sent.over) for sent in scene.story[1:]] == [("trace", ""), ("", "whole")]


# --- acknowledgement and escalation -----------------------------------------------------------------------

ROUTE = Route(
    name="r",
    receivers=["slack"],
    escalate=[
        Escalation(after_s=900, receivers=["lead"]),
        Escalation(after_s=1_800, receivers=["boss", "gone"]),
    ],
)
EVERYBODY: dict[str, Any] = {"slack": "info", "lead": "info", "boss": "critical"}


def test_what_nobody_acknowledges_is_told_to_the_next() -> None:
    scene = Scene(EVERYBODY, ROUTE)
    scene.say(alert(fingerprint="a"))
    scene.wait(HOUR)
    assert scene.story == [
        told(0, "opened", "a"),
        told(900, "escalated", "a", to="lead"),
        told(1_800, "escalated", "a", to="boss"),
    ]
    assert scene.sent[1].escalated_from == ("slack",)
    scene.say(over("a"))
    scene.wait(60)
    assert sorted(sent.receiver for sent in scene.story if sent.over) == ["boss", "lead", "slack"]


def test_what_is_acknowledged_is_neither_escalated_nor_repeated() -> None:
    scene = Scene(EVERYBODY, ROUTE)
    scene.say(alert(fingerprint="a"))
    scene.wait(600)
    scene.acknowledge("a")
    scene.wait(9 * HOUR)
    assert scene.story == [told(0, "opened", "a")]
    scene.say(over("a"))
    scene.wait(60)
    assert scene.story[-1].over == "a"


def test_an_incident_is_acknowledged_as_a_whole_but_not_what_joins_it_later() -> None:
    scene = Scene(EVERYBODY, ROUTE)
    scene.say(alert(fingerprint="a"))
    scene.wait(600)
    scene.acknowledge(scene.sent[0].incident)
    scene.wait(60)
    scene.say(alert(fingerprint="b"))
    scene.wait(HOUR)
    assert [(sent.receiver, sent.firing) for sent in scene.story] == [
        ("slack", "a"),
        ("slack", "b"),
        ("lead", "b"),
        ("boss", "b"),
    ]


def test_a_withdrawn_acknowledgement_counts_no_more() -> None:
    scene = Scene(EVERYBODY, ROUTE)
    scene.say(alert(fingerprint="a"))
    scene.acknowledge("a")
    scene.wait(100)
    scene.acknowledge("a", state="withdrawn")
    scene.wait(1_000)
    assert scene.story[-1] == told(900, "escalated", "a", to="lead")


def test_who_can_update_what_was_said_is_told_who_took_it_once() -> None:
    scene = slack(wants=ACKS)
    scene.say(alert(fingerprint="a"))
    scene.wait(60)
    scene.acknowledge("a")
    scene.wait(9 * HOUR)
    assert scene.story == [told(0, "opened", "a"), told(60, "acknowledged", "a")]
    taken = scene.sent[1].acknowledgement
    assert taken is not None
    assert taken.author == "ada"


# --- what is done about it --------------------------------------------------------------------------------


def test_what_was_done_before_somebody_was_told_is_told_with_it() -> None:
    scene = slack()
    scene.throttle(measure())
    scene.say(alert())
    [said] = scene.sent
    assert template.done(said.measures) == ["trace run-4711: blocked since 14:09:00 UTC (rule stop-loops)"]


def test_who_can_update_what_was_said_is_told_what_was_done_and_that_it_was_undone() -> None:
    scene = Scene({"slack": "info", "mail": "info"}, wants={"slack": ACKS, "mail": NEWS})
    scene.say(alert())
    steps: list[tuple[float, ThrottleChange]] = [
        (2, "started"),
        (62, "stronger"),
        (300, "releasing"),
        (330, "faster"),
        (390, "released"),
    ]
    for seconds, change in steps:
        scene.wait(seconds - (scene.now - NOW).total_seconds())
        scene.throttle(measure(change, scene.now))
        scene.restart()
    scene.wait(60)
    fingerprint = alert().fingerprint
    assert [(sent.at, sent.why) for sent in scene.story if sent.receiver == "slack"] == [
        (0, "opened"),
        (15, "throttled"),
        (62, "throttled"),
        (300, "throttled"),
        (390, "throttled"),
    ]
    assert [sent.firing for sent in scene.story] == [fingerprint] * 6
    scene.say(resolved())
    scene.wait(60)
    ends = {said.receiver: template.done(said.measures) for said in scene.sent[-2:]}
    end = ["trace run-4711: let go at 14:15:30 UTC (rule stop-loops)"]
    assert ends == {"slack": end, "mail": end}


def test_a_dry_run_is_told_once_and_not_at_every_step() -> None:
    scene = slack(wants=ACKS)
    scene.say(alert())
    changes: tuple[ThrottleChange, ...] = ("started", "stronger", "released")
    for change in changes:
        scene.wait(30)
        scene.throttle(measure(change, scene.now, mode="dry_run", spared_nanos=3_100_000_000))
    scene.wait(60)
    assert [sent.why for sent in scene.story] == ["opened", "throttled"]


def test_what_is_done_about_a_silenced_alert_wakes_nobody() -> None:
    scene = slack(wants=ACKS)
    scene.say(alert())
    scene.configure(silence(0, HOUR))
    scene.throttle(measure())
    scene.wait(60)
    assert [sent.why for sent in scene.story] == ["opened"]


def test_a_receiver_that_is_down_does_not_keep_others_from_being_told() -> None:
    scene = Scene(EVERYBODY, ROUTE)
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    scene.wait(1_000)
    scene.out.clear()
    scene.restart()
    scene.down.add("slack")
    scene.settle()
    assert [(sent.receiver, sent.why) for sent in scene.story] == [("lead", "escalated")]


def test_silenced_alerts_are_not_escalated() -> None:
    scene = Scene(EVERYBODY, ROUTE, silence(-60, 2 * HOUR))
    scene.say(alert(fingerprint="a"))
    scene.wait(HOUR)
    assert scene.story == []


# --- failing receivers ------------------------------------------------------------------------------------


def test_the_beginning_is_told_before_the_end_however_long_it_takes() -> None:
    scene = slack()
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    scene.wait(100)
    scene.say(over("a"))
    scene.wait(500)
    scene.recover("slack")
    scene.wait(60)
    assert [(sent.why, sent.firing, sent.over) for sent in scene.story] == [
        ("opened", "a", ""),
        ("resolved", "", "a"),
    ]


def test_killed_meanwhile_the_beginning_is_still_told_before_the_end() -> None:
    scene = slack()
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    scene.wait(100)
    scene.say(over("a"))
    scene.down.clear()
    scene.restart()
    scene.wait(60)
    assert [(sent.why, sent.firing, sent.over) for sent in scene.story] == [
        ("opened", "a", ""),
        ("resolved", "", "a"),
    ]


def test_a_silence_that_begins_between_attempts_ends_them() -> None:
    scene = slack()
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    scene.configure(silence(0, HOUR))
    scene.recover("slack")
    assert scene.story == []


def test_another_attempt_says_the_same_with_newer_numbers() -> None:
    scene = slack()
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    key = scene.out[0].said.idempotency_key
    scene.wait(60)
    scene.say(alert(fingerprint="a", sequence=2, cost_nanos=77), alert(fingerprint="b"))
    scene.recover("slack")
    scene.wait(60)
    assert [sent.firing for sent in scene.story] == ["a", "b"]
    assert scene.sent[0].idempotency_key == key
    assert scene.sent[0].firing[0].alert.cost_nanos == 77


@pytest.mark.parametrize("final", [True, False])
def test_what_is_given_up_is_forgotten_with_its_end(final: bool) -> None:
    scene = slack()
    scene.down.add("slack")
    scene.say(alert(fingerprint="a"))
    (delivery,) = scene.out
    box = scene.desk.outboxes["slack"]
    assert box.give_up(delivery, scene.now, final=final) is None
    box.back(delivery)
    scene.out.clear()
    scene.wait(200)
    assert scene.out == []
    scene.down.clear()
    if final:
        scene.say(over("a"))
        scene.wait(HOUR)
        assert scene.story == []
        assert len(scene.desk.board) == 0
    else:
        scene.wait(200)
        assert scene.story == [told(300, "opened", "a")]


def test_an_end_that_is_given_up_is_remembered_as_told() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.wait(60)
    scene.down.add("slack")
    scene.say(over("a"))
    (delivery,) = scene.out
    entry = scene.desk.outboxes["slack"].give_up(delivery, scene.now, final=False)
    assert entry is not None
    assert entry.firing == []
    assert entry.sequence == 1


# --- storms -----------------------------------------------------------------------------------------------

CAP = ReceiverPolicy(name="slack", cap=Cap(notifications=5, within_s=600))


def test_a_storm_is_a_few_notifications_and_one_digest() -> None:
    scene = slack(CAP)
    for number in range(40):
        scene.say(alert(fingerprint=f"s-{number:02}", team=f"team-{number:02}"))
        scene.wait(1)
    scene.wait(300)
    assert len(scene.sent) == 6
    digest = scene.sent[-1]
    assert digest.occasion == "storm"
    assert digest.held_back is not None
    assert (digest.held_back.notifications, digest.held_back.cap) == (35, 5)
    told_of = [fp for sent in scene.story for fp in sent.firing.split()]
    assert sorted(told_of) == [f"s-{number:02}" for number in range(40)]


def test_the_ends_of_a_storm_are_told_in_its_own_incident() -> None:
    scene = slack(CAP)
    scene.say(*(alert(fingerprint=f"s-{n:02}", team=f"team-{n:02}") for n in range(20)))
    scene.wait(2 * HOUR)
    scene.say(*(over(f"s-{n:02}", team=f"team-{n:02}") for n in range(20)))
    scene.wait(HOUR)
    ends = [said for said in scene.sent if said.resolved]
    assert sorted(fp for sent in scene.story for fp in sent.over.split()) == [f"s-{n:02}" for n in range(20)]
    assert len(ends) == 6
    (storm,) = [said for said in ends if said.occasion == "storm"]
    assert storm.over
    assert storm.incident == next(said.incident for said in scene.sent if said.held_back)


def test_a_cap_holds_for_any_window_and_through_restarts() -> None:
    scene = slack(CAP)
    for number in range(60):
        scene.say(alert(fingerprint=f"s-{number:02}", team=f"team-{number:02}"))
        scene.wait(40)
        if number % 7 == 0:
            scene.restart()
    scene.wait(2 * HOUR)
    times = [sent.at for sent, said in zip(scene.story, scene.sent, strict=True) if not said.held_back]
    digests = [sent.at for sent, said in zip(scene.story, scene.sent, strict=True) if said.held_back]
    assert all(later - earlier >= 600 for earlier, later in zip(times, times[5:], strict=False))
    assert all(later - earlier >= 600 for earlier, later in pairwise(digests))
    assert sorted(fp for sent in scene.story for fp in sent.firing.split()) == [
        f"s-{n:02}" for n in range(60)
    ]


def test_pages_come_first_when_there_is_room_again() -> None:
    scene = slack(ReceiverPolicy(name="*", cap=Cap(notifications=1, within_s=600)))
    scene.say(alert(fingerprint="first", team="0"))
    scene.say(ticket("ticket", team="1"))
    scene.wait(31)
    scene.say(alert(fingerprint="page", team="2"))
    scene.wait(HOUR)
    assert scene.sent[1].occasion == "storm"
    assert scene.sent[1].lead is not None
    assert scene.sent[1].lead.fingerprint == "page"


def test_a_group_of_very_many_is_told_up_to_a_bound_and_says_so() -> None:
    scene = slack()
    scene.say(*(ticket(f"s-{number:03}") for number in range(230)))
    scene.wait(60)
    (said,) = scene.sent
    assert (len(said.firing), said.omitted) == (200, 30)
    scene.say(*(over(f"s-{number:03}", severity="warning") for number in range(100)))
    scene.wait(600)
    told_of = {fp for sent in scene.story for fp in sent.firing.split()}
    assert len(told_of) == 230


# --- routing ----------------------------------------------------------------------------------------------


def test_whoever_has_not_heard_is_routed_by_the_config_of_the_day() -> None:
    scene = Scene({"slack": "info", "mail": "info"})
    scene.say(ticket("a"))
    scene.configure(Route(name="r", receivers=["mail"]))
    scene.wait(60)
    assert [sent.receiver for sent in scene.story] == ["mail"]


def test_what_was_told_stays_in_its_group_when_grouping_changes() -> None:
    scene = slack()
    scene.say(alert(fingerprint="a"))
    scene.configure(Route(name="r", receivers=["slack"], group_by=["workflow"]))
    scene.say(alert(fingerprint="a", sequence=2))
    scene.wait(HOUR)
    scene.say(over("a"))
    scene.wait(60)
    assert [sent.why for sent in scene.story] == ["opened", "resolved"]
    assert scene.sent[0].incident == scene.sent[1].incident


def test_a_tree_with_its_own_times() -> None:
    root = Route(name="r", receivers=["slack"], group_wait_s=120.0)
    creep = Route(
        name="creep", parent="r", match=Match(kinds=["creep"]), receivers=["mail"], group_wait_s=0.0
    )
    scene = Scene({"slack": "info", "mail": "info"}, root, creep)
    scene.say(ticket("a"), ticket("b", kind="creep"))
    scene.wait(HOUR)
    assert scene.story == [told(0, "opened", "b", to="mail"), told(120, "opened", "a")]


def test_a_notification_says_where_to_read_on() -> None:
    scene = slack(Owner(name="o", match=Match(), owner="ada", runbook="https://wiki.example/x"))
    scene.desk._link = Link("https://tide.example/{fingerprint}")
    scene.say(alert(fingerprint="a"))
    links = scene.sent[0].links
    assert (links.console, links.runbook) == ("https://tide.example/a", "https://wiki.example/x")
    assert dict(scene.sent[0].labels) == {"kind": "retry_loop", "owner": "ada", "team": "care"}


def test_partitions_never_speak_for_one_group() -> None:
    scene = slack()
    scene.desk.accept(alert(fingerprint="a"), Source(0, 0), scene.now)
    scene.desk.accept(alert(fingerprint="b"), Source(3, 0), scene.now)
    scene.settle()
    assert len({said.group for said in scene.sent}) == 2


def test_what_somebody_said_of_a_workflow_is_told_with_its_next_alert() -> None:
    given = Feedback(
        fingerprint="earlier",
        workflow="support-agent",
        kind="retry_loop",
        worth="not_worth_it",
        author="ada",
        at=NOW,
        via="slack",
    )
    follows = tuning("support-agent", WorkflowConfig(), [given], NOW)
    assert follows is not None
    scene = Scene({"slack": "info"}, follows)
    scene.say(alert(), alert(fingerprint="other", workflow="chat", kind="creep"))
    scene.wait(60)
    remarks = {said.lead.workflow: said.remark for said in scene.sent if said.lead is not None}
    assert remarks == {
        "support-agent": 'quieter about retry loop since ada said "not worth it" on 2026-01-31, until 2026-03-02',
        "chat": None,
    }

"""Who is told, in which group, how soon."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from schemas.alerts import Severity
from schemas.control import Escalation, Match, Owner, Route
from schemas.rollups import Watched
from service.notify.labels import group_key, labels, matches, owner_of
from service.notify.routing import GROUP_BY, Pace, route, trees
from tests.service.notify.support import alert

RECEIVERS: dict[str, Severity] = {"slack": "info", "pager": "critical", "mail": "warning"}


def a_route(*receivers: str, **fields: Any) -> Route:
    match = {k: fields.pop(k) for k in ("workflow", "team", "kinds", "severities") if k in fields}
    return Route(**{"name": "r", "match": Match(**match), "receivers": list(receivers), **fields})


def names(
    *routes: Route, severity: Severity = "critical"
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    found = route(alert(severity=severity), trees(routes), RECEIVERS)
    return [d.receiver for d in found.destinations], found.below, found.unknown


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
        ([], "critical", (["mail", "pager", "slack"], (), ())),
        ([], "info", (["slack"], ("mail", "pager"), ())),
        ([a_route("slack", workflow="chat")], "critical", (["mail", "pager", "slack"], (), ())),
        ([a_route("slack")], "critical", (["slack"], (), ())),
        (
            [a_route("slack"), a_route("pager", team="care", name="s")],
            "critical",
            (["pager", "slack"], (), ()),
        ),
        ([a_route("pager")], "warning", ([], ("pager",), ())),
        ([a_route("slack", "gone")], "critical", (["slack"], (), ("gone",))),
        ([a_route("gone")], "critical", (["mail", "pager", "slack"], (), ("gone",))),
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
def test_flat_routes_choose_receivers(
    routes: list[Route], severity: Severity, expected: tuple[list[str], tuple[str, ...], tuple[str, ...]]
) -> None:
    assert names(*routes, severity=severity) == expected


def part(name: str, *receivers: str, parent: str = "r", **fields: Any) -> Route:
    return a_route(*receivers, name=name, parent=parent, **fields)


def test_the_first_part_that_matches_takes_the_alert() -> None:
    assert names(a_route("mail"), part("a", "pager"), part("b", "slack"))[0] == ["pager"]
    assert names(a_route("mail"), part("a", "pager", order=2), part("b", "slack", order=1))[0] == ["slack"]


def test_a_part_that_continues_asks_the_next() -> None:
    routes = a_route("mail"), part("a", "pager", continues=True), part("b", "slack"), part("c", "mail")
    assert names(*routes)[0] == ["pager", "slack"]


def test_what_no_part_takes_is_the_route_s_own() -> None:
    assert names(a_route("mail"), part("a", "pager", workflow="chat"))[0] == ["mail"]


def test_parts_may_have_parts() -> None:
    routes = a_route("mail"), part("a"), part("b", "slack", parent="a", kinds=["retry_loop"])
    assert names(*routes)[0] == ["slack"]
    other = a_route("mail"), part("a"), part("b", "slack", parent="a", kinds=["creep"])
    assert names(*other)[0] == ["mail"]


def test_a_part_of_what_is_not_there_is_a_tree_of_its_own() -> None:
    assert names(a_route("mail"), part("a", "pager", parent="gone"))[0] == ["mail", "pager"]


def test_routes_that_are_part_of_each_other_still_tell_somebody() -> None:
    circle = part("a", "pager", parent="b"), part("b", "slack", parent="a"), part("c", "mail", parent="a")
    assert names(*circle)[0] == ["mail", "pager", "slack"]


def test_times_and_grouping_are_inherited_until_somebody_says_otherwise() -> None:
    up = Escalation(after_s=600, receivers=["pager"])
    tree = trees(
        [
            a_route("mail", group_by=["workflow"], group_wait_s=60.0, escalate=[up]),
            part("a", "slack", page_wait_s=5.0, repeat_interval_s=0.0),
        ]
    )
    (found,) = route(alert(), tree, RECEIVERS, Pace(interval=timedelta(minutes=9))).destinations
    assert found.group_by == ("workflow",)
    assert found.pace.wait == timedelta(minutes=1)
    assert found.pace.page_wait == timedelta(seconds=5)
    assert found.pace.interval == timedelta(minutes=9)
    assert found.pace.repeat == timedelta(0)
    assert found.escalations == (up,)


def test_a_part_can_say_that_nobody_is_escalated_to() -> None:
    up = Escalation(after_s=600, receivers=["pager"])
    tree = trees([a_route("mail", escalate=[up]), part("a", "slack", escalate=[])])
    (found,) = route(alert(), tree, RECEIVERS).destinations
    assert found.escalations == ()


def test_one_receiver_is_told_once_whatever_routes_name_it() -> None:
    tree = trees([a_route("slack", group_by=["kind"]), a_route("slack", name="s")])
    found = route(alert(), tree, RECEIVERS)
    assert [(d.receiver, d.group_by) for d in found.destinations] == [("slack", ("kind",))]


def test_a_route_names_somebody_or_is_part_of_one_that_does() -> None:
    with pytest.raises(ValueError, match="names its receivers"):
        Route(name="r")
    with pytest.raises(ValueError, match="part of itself"):
        Route(name="r", parent="r")
    assert Route(name="r", parent="s").receivers == []


def test_by_default_those_of_one_team_owner_and_kind_are_together() -> None:
    owners = [Owner(name="o", match=Match(workflow="support-*"), owner="ada")]
    first = group_key(labels(alert(workflow="support-a"), owners), GROUP_BY)
    assert first == group_key(labels(alert(workflow="support-b"), owners), GROUP_BY)
    assert first[0] == "kind=retry_loop,owner=ada,team=care"
    assert first != group_key(labels(alert(workflow="chat"), owners), GROUP_BY)


def test_a_key_cannot_be_made_to_look_like_another() -> None:
    one = group_key(labels(alert(team="a,workflow=b", workflow="c")), ("team", "workflow"))
    other = group_key(labels(alert(team="a", workflow="b,workflow=c")), ("team", "workflow"))
    assert one[0] != other[0]


def test_no_label_is_one_group() -> None:
    assert group_key(labels(alert()), ()) == ("all", ())


def test_a_scope_is_a_label() -> None:
    scoped = alert(workflow="team payments", scope=Watched(kind="team", value="payments"))
    assert labels(scoped)["scope"] == "team payments"


def test_the_longest_pattern_owns_it() -> None:
    owners = [
        Owner(name="all", match=Match(), owner="ops"),
        Owner(name="support", match=Match(workflow="support-*"), owner="ada"),
    ]
    found = owner_of(alert(), owners)
    assert found is not None
    assert found.owner == "ada"
    assert owner_of(alert(workflow="chat"), owners[1:]) is None

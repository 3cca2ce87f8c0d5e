"""Who gets an alert, in which group, how soon: the routing tree. Pure.

Every tree whose root matches counts. Of the routes of one parent the first that matches takes the alert, and the
next is asked only if it says `continues`; what none of them takes is the parent's own. What a route does not say it
has from its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from schemas.alerts import Alert, Severity
from schemas.control import Escalation, GroupLabel, Route, Timing
from service.notify.labels import matches
from service.notify.notification import RANK

GROUP_BY: Final[tuple[GroupLabel, ...]] = ("team", "owner", "kind")


@dataclass(frozen=True, slots=True)
class Pace:
    """How soon things are told. All durations; `repeat` of zero: never."""

    wait: timedelta = timedelta(seconds=30)
    page_wait: timedelta = timedelta(0)
    interval: timedelta = timedelta(minutes=5)
    page_interval: timedelta = timedelta(seconds=15)
    repeat: timedelta = timedelta(hours=4)

    def before(self, severity: Severity) -> timedelta:
        """How long a new alert waits for others."""
        return self.page_wait if severity == "critical" else self.wait


@dataclass(frozen=True, slots=True)
class Destination:
    """One receiver's share of an alert."""

    receiver: str
    pace: Pace = Pace()
    group_by: tuple[GroupLabel, ...] = GROUP_BY
    escalations: tuple[Escalation, ...] = ()


@dataclass(frozen=True, slots=True)
class Routing:
    """Who gets an alert.

    Attributes
    ----------
    destinations : tuple of Destination
        One per receiver, by name.
    below : tuple of str
        Routed to, but they want more severe ones only.
    unknown : tuple of str
        Named by a route, but in nobody's settings.
    """

    destinations: tuple[Destination, ...]
    below: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A route, and those that are part of it, in their order."""

    route: Route
    parts: tuple[Node, ...] = ()


def trees(routes: Iterable[Route]) -> tuple[Node, ...]:
    """Routes as trees, by name.

    One whose parent does not exist, or is in the end part of itself, is a tree of its own: better told twice than
    not at all. Without receivers of its own it tells nobody.
    """
    named = {route.name: route for route in routes}
    roots = [route for _, route in sorted(named.items()) if not _hangs_on(route, named)]
    return tuple(_node(route, named) for route in roots)


def _hangs_on(route: Route, named: Mapping[str, Route]) -> bool:
    """Whether its parents lead to a root."""
    seen: set[str] = {route.name}
    if route.parent not in named:
        return False
    while route.parent is not None and route.parent in named:
        if route.parent in seen:
            return False
        seen.add(route.parent)
        route = named[route.parent]
    return True


def _node(route: Route, named: Mapping[str, Route]) -> Node:
    parts = [one for one in named.values() if one.parent == route.name and _hangs_on(one, named)]
    ordered = sorted(parts, key=lambda one: (one.order, one.name))
    return Node(route, tuple(_node(one, named) for one in ordered))


def route(
    alert: Alert, roots: Iterable[Node], receivers: Mapping[str, Severity], pace: Pace | None = None
) -> Routing:
    """Who gets an alert: everybody whom a matching route names; without one, everybody.

    A route that names only receivers nobody configured counts as none: better told twice than not at all. Where
    several name one receiver, the first decides how it is told.

    Parameters
    ----------
    receivers : mapping of str to Severity
        Configured receivers and the least severity each wants.
    pace : Pace
        Where no route says otherwise.
    """
    start = Destination("", pace or Pace())
    named: dict[str, Destination] = {}
    for root in roots:
        if matches(root.route.match, alert):
            for destination in _of_node(alert, root, (), start):
                named.setdefault(destination.receiver, destination)
    wanted = {name: found for name, found in named.items() if name in receivers}
    wanted = wanted or {name: replace(start, receiver=name) for name in receivers}
    enough = {name for name in wanted if RANK[alert.severity] >= RANK[receivers[name]]}
    return Routing(
        tuple(wanted[name] for name in sorted(enough)),
        tuple(sorted(wanted.keys() - enough)),
        tuple(sorted(named.keys() - receivers.keys())),
    )


def _of_node(alert: Alert, node: Node, inherited: Sequence[str], above: Destination) -> Iterator[Destination]:
    receivers, here = node.route.receivers or inherited, _inherit(above, node.route)
    taken = False
    for part in node.parts:
        if matches(part.route.match, alert):
            taken = True
            yield from _of_node(alert, part, receivers, here)
            if not part.route.continues:
                return
    if not taken:
        for name in receivers:
            yield replace(here, receiver=name)


def _inherit(above: Destination, said: Timing) -> Destination:
    pace = above.pace
    return Destination(
        above.receiver,
        Pace(
            _or(said.group_wait_s, pace.wait),
            _or(said.page_wait_s, pace.page_wait),
            _or(said.group_interval_s, pace.interval),
            _or(said.page_interval_s, pace.page_interval),
            _or(said.repeat_interval_s, pace.repeat),
        ),
        above.group_by if said.group_by is None else tuple(said.group_by),
        above.escalations if said.escalate is None else tuple(said.escalate),
    )


def _or(seconds: float | None, inherited: timedelta) -> timedelta:
    return inherited if seconds is None else timedelta(seconds=seconds)

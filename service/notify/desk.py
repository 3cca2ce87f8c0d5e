"""Everything the couriers have in common: what goes on, who knows what, and who is to be told. No I/O.

The numbers are those of README.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from schemas.alerts import Alert, Severity
from schemas.control import Cap, Daily, Escalation
from schemas.notifications import Acknowledgement, NotificationLogEntry
from schemas.throttles import ThrottleEvent
from service.notify import storm
from service.notify.acknowledgements import Acknowledgements
from service.notify.board import Board, Held, Source, Standing
from service.notify.group import Look, lead
from service.notify.inhibition import inhibitor
from service.notify.labels import group_key, labels, owner_of
from service.notify.notification import NEWS, Change, Links
from service.notify.outbox import Outbox, Seat
from service.notify.quiet import Mute, quiet
from service.notify.routing import Destination, Pace, Routing, route
from service.notify.rulebook import rulebook
from service.notify.template import Link
from service.notify.told import Told
from service.rules.config import ConfigBook
from service.rules.measures import Measures
from service.runtime.metrics import NOTIFY_MUTED, bounded

NOBODY: Final = "nobody"
_LOG = logging.getLogger(__name__)


class Desk:
    """Knows every alert that goes on or has still to be told, and seats it in the groups of its receivers."""

    def __init__(
        self,
        told: Told,
        acknowledgements: Acknowledgements,
        receivers: Mapping[str, Severity],
        *,
        pace: Pace | None = None,
        link: Link | None = None,
        woken: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`woken` is called with a receiver that has something to do although nothing was read."""
        self.board = Board()
        self.told = told
        self.outboxes: dict[str, Outbox] = {}
        self._rules = rulebook(ConfigBook.empty())
        self._acknowledgements = acknowledgements
        self._measures = Measures()
        self._receivers = dict(receivers)
        self._pace = pace or Pace()
        self._link = link
        self._woken = woken
        self._routed: dict[str, tuple[Severity, bool]] = {}
        self._unknown: set[str] = set()
        self._first = False
        self._day: tuple[datetime, list[Alert]] | None = None

    def outbox(self, receiver: str, wants: frozenset[Change] = NEWS) -> Outbox:
        """The outbox of a receiver, from what the log says of it."""
        found = Outbox(receiver, self, wants=wants)
        self.outboxes[receiver] = found
        return found

    def take_up(self, first: bool) -> None:
        """1. The log has been read to its end. `first`: the first partition is ours, and with it daily digests."""
        self._first = first
        for name, outbox in self.outboxes.items():
            outbox.begin(self.told.recent(name), self.told.last_digest(name))

    # --- what is read -------------------------------------------------------------------------------------

    def accept(self, alert: Alert, source: Source, at: datetime) -> None:
        """3. Take in an alert, and seat it where it belongs."""
        if alert.status == "pending":
            self.board.skip(source)
            return
        held = self.board.apply(alert, source, at)
        if held is None:
            return
        before = self._routed.get(alert.fingerprint)
        if before != (alert.severity, held.is_over):
            self._seat(held)
            for outbox in self.outboxes.values():
                outbox.touch_muted()
        self._touch(alert.fingerprint)

    def acknowledge(self, said: Acknowledgement) -> None:
        """Somebody took something, or takes it no more."""
        if self._acknowledgements.apply(said):
            # An incident's key names many alerts, and acknowledgements are rare.
            self._touch(None)

    def throttled(self, event: ThrottleEvent) -> None:
        """Something was done about an incident, or undone."""
        if self._measures.apply(event):
            self._touch(event.alert_fingerprint)

    def reconfigure(self, book: ConfigBook) -> None:
        """Another config is in force: whoever has not been told yet may be routed elsewhere."""
        self._rules = rulebook(book)
        for held in self.board:
            self._seat(held)
        self._touch(None)

    def _touch(self, fingerprint: str | None) -> None:
        for outbox in self.outboxes.values():
            outbox.touch(fingerprint)

    def _seat(self, held: Held) -> None:
        alert, fingerprint = held.firing or held.alert, held.alert.fingerprint
        routing = route(alert, self._rules.routes, self._receivers, self._pace)
        if self._routed.get(fingerprint) != (held.alert.severity, held.is_over):
            self._count(routing)
        self._routed[fingerprint] = (held.alert.severity, held.is_over)
        wanted = {found.receiver: found for found in routing.destinations}
        for name, outbox in self.outboxes.items():
            told_in = self.told.group_of(name, fingerprint)
            if name not in wanted and told_in is None:
                if not outbox.escalated(fingerprint):
                    outbox.unseat(fingerprint)
                continue
            destination = wanted.get(name, Destination(name, self._pace))
            key, pairs = self._group(alert, destination, held.first.partition)
            outbox.seat(fingerprint, destination, told_in or key, pairs)

    def _group(
        self, alert: Alert, destination: Destination, partition: int
    ) -> tuple[str, tuple[tuple[str, str], ...]]:
        key, pairs = group_key(labels(alert, self._rules.owners), destination.group_by)
        # Partitions may belong to different replicas, and no two may speak for one group.
        return (f"{key},partition={partition}" if partition else key), pairs

    def _count(self, routing: Routing) -> None:
        for name in routing.below:
            NOTIFY_MUTED.labels(name, "severity").inc()
        for name in routing.unknown:
            self._no_receiver(name)
        if not routing.destinations and not routing.below:
            NOTIFY_MUTED.labels(NOBODY, "no_receiver").inc()

    def _no_receiver(self, name: str) -> None:
        NOTIFY_MUTED.labels(bounded("receiver", name), "no_receiver").inc()
        if name not in self._unknown and len(self._unknown) < 1_000:
            self._unknown.add(name)
            _LOG.warning("a route names the receiver %r, which is not in the settings", name)

    # --- ticking off --------------------------------------------------------------------------------------

    def sweep(self, now: datetime) -> Mapping[int, int]:
        """7. Let go what is finished. Returns by partition the offset a successor must begin at."""
        for fingerprint in self.board.expire(now):
            _LOG.warning("alert %s: no record for days, taken for over", fingerprint)
            self._touch(fingerprint)
        gone = self.board.sweep(self._standing)
        for fingerprint in gone:
            self._routed.pop(fingerprint, None)
            for outbox in self.outboxes.values():
                outbox.unseat(fingerprint)
        if gone:
            for outbox in self.outboxes.values():
                outbox.touch_muted()
        return self.board.committable()

    def _standing(self, held: Held) -> Standing:
        found = {outbox.standing(held.alert.fingerprint) for outbox in self.outboxes.values()}
        if Standing.OWED in found:
            return Standing.OWED
        # Nobody is told of it, and yet it may explain others.
        return Standing.NOBODY if held.is_over and Standing.TOLD not in found else Standing.TOLD

    def forget(self) -> None:
        """8. The partitions belong to somebody else."""
        self.board.clear()
        self._routed.clear()
        for outbox in self.outboxes.values():
            outbox.clear()

    # --- what outboxes ask --------------------------------------------------------------------------------

    def held(self, fingerprint: str) -> Held | None:
        return self.board.get(fingerprint)

    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None:
        return self.told.entry(receiver, group)

    def believers(self, receiver: str) -> Iterator[tuple[str, str]]:
        """(fingerprint, group) of all that a receiver believes to fire."""
        return self.told.believers(receiver)

    def incident_of(self, group: str) -> str | None:
        return None if storm.is_digest(group) else self.told.incident_of(group)

    def acknowledgement(
        self, fingerprint: str, incident: str | None, told_at: datetime | None
    ) -> Acknowledgement | None:
        return self._acknowledgements.of(fingerprint, incident, told_at)

    def measures(self, fingerprint: str) -> tuple[ThrottleEvent, ...]:
        return self._measures.of(fingerprint)

    def mute(self, held: Held, now: datetime) -> Mute | None:
        alert, rules = held.firing or held.alert, self._rules
        # What ended while it was muted is no news, also to whoever reads its records again after that.
        for moment in (now,) if held.over_at is None else (held.over_at, now):
            found = quiet(
                alert,
                moment,
                silences=rules.silences,
                maintenances=rules.maintenances,
                launches=rules.launches,
            )
            if found is not None:
                return found
        # What is over explains only what is over, too: an alert that is told late is judged as it was.
        sources = self.board.firing(over=held.is_over)
        shadow = inhibitor(alert, sources, rules.inhibits, rules.owners)
        return Mute.INHIBITED if shadow is not None else None

    def muted(self, receiver: str, why: Mute) -> None:
        NOTIFY_MUTED.labels(receiver, why).inc()

    def cap(self, receiver: str) -> Cap:
        return self._rules.cap(receiver)

    def links(self, found: Look) -> Links:
        first = lead(found.firing, found.resolved)
        if first is None:
            return Links()
        owner = owner_of(first, self._rules.owners)
        return Links(
            console=self._link.to(first) if self._link is not None else None,
            runbook=owner.runbook if owner is not None else None,
        )

    def remark(self, found: Look) -> str | None:
        first = lead(found.firing, found.resolved)
        return None if first is None else self._rules.remarks.get(first.workflow)

    def escalate(self, receiver: str, fingerprint: str, seat: Seat, to: Escalation) -> None:
        held = self.board.get(fingerprint)
        if held is None:
            return
        # Whoever is told because nobody answered need not wait for company.
        pace = replace(seat.destination.pace, wait=timedelta(0), page_wait=timedelta(0))
        for name in to.receivers:
            outbox = self.outboxes.get(name)
            if outbox is None:
                self._no_receiver(name)
            elif not outbox.seats(fingerprint):
                destination = replace(seat.destination, receiver=name, pace=pace, escalations=())
                alert = held.firing or held.alert
                key, pairs = self._group(alert, destination, held.first.partition)
                outbox.seat(fingerprint, destination, key, pairs, (receiver,))
                self._woken(name)

    # --- what daily digests ask ---------------------------------------------------------------------------

    def daily(self, receiver: str) -> Daily | None:
        return self._rules.daily(receiver) if self._first else None

    def of_the_day(self, receiver: str, since: datetime) -> Sequence[Alert] | None:
        if self._day is None or self._day[0] != since:
            return None
        return [
            alert
            for alert in self._day[1]
            if any(
                found.receiver == receiver
                for found in route(alert, self._rules.routes, self._receivers, self._pace).destinations
            )
        ]

    def tell_day(self, since: datetime, alerts: list[Alert]) -> None:
        """What was asked for: latest records of all alerts that went on since then."""
        self._day = since, alerts

"""All throttles of the installation, fed with alerts and answers. Reads no clock and no broker.

1. `use(book)` when there is another book.
2. `take` each alert, `heard` each answer.
3. `turn(now)` after what has come, and when `due()` is reached. Send what it says; keep `throttling`, `watch` and
   what `incidents.changes()` tells with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.alerts import Alert
from schemas.throttles import ThrottleAck, ThrottleCommand, ThrottleEvent
from service.rules.config import ConfigBook
from service.rules.throttling import Throttling, advance, due
from service.rules.trouble import Terms, Told, Traffic, Trouble
from service.throttles.incidents import Incidents
from service.throttles.notice import Notice
from service.throttles.unanswered import Unanswered

ACK_WAIT_S: Final = 15.0
_APPROVAL: Final = "approval/"
_UNANSWERED: Final = "unanswered/"
_REASON: Final = 300


class Watch(msgspec.Struct, array_like=True):
    """What is kept besides the throttles: answers that are awaited, and what people have been told, by key."""

    unanswered: Unanswered = msgspec.field(default_factory=Unanswered)
    notices: dict[str, Notice] = {}


@dataclass(slots=True)
class Said:
    """Records to send."""

    commands: list[ThrottleCommand] = field(default_factory=list)
    events: list[ThrottleEvent] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.commands or self.events or self.alerts)


class Desk:
    """Knows every incident that is not over, and every scope that is throttled for one.

    Parameters
    ----------
    ack_wait_s : float
        Seconds after which an enforced command that nobody has answered is told to people.
    """

    def __init__(
        self,
        throttling: Throttling | None = None,
        watch: Watch | None = None,
        incidents: Incidents | None = None,
        *,
        ack_wait_s: float = ACK_WAIT_S,
    ) -> None:
        self.throttling = throttling or Throttling()
        self.watch = watch or Watch()
        self.incidents = incidents or Incidents()
        self._ack_wait_s = ack_wait_s
        self._terms = Terms.of(ConfigBook.empty())
        self._traffic: dict[str, Traffic] = {}
        self._known: list[Trouble] | None = None

    def use(self, book: ConfigBook) -> None:
        """Follow these rules from the next turn on."""
        self._terms = Terms.of(book)
        self._known = None

    def take(self, alert: Alert) -> None:
        """One record of the alerts topic."""
        self._known = None
        before = self.incidents.take(alert)
        if before is not None and alert.kind == before.kind:
            self._spared(before, alert)

    def heard(self, ack: ThrottleAck) -> None:
        """One record of the acknowledgements topic."""
        self.watch.unanswered.heard(ack)

    def turn(self, now: float) -> Said:
        """Let time pass with what has come. `now`: epoch seconds, as gateways count them."""
        said = Said()
        if self.incidents.forget(now):
            self._known = None
        moves = advance(self.throttling, self._troubles(), now, self._terms, self._traffic)
        self._traffic = {}
        for command in moves.commands:
            self.watch.unanswered.sent(command, now)
            said.commands.append(command)
        for told in moves.told:
            said.events.append(self._event(told))
            self._ask(told, said)
        self._complain(now, said)
        for key, notice in self.watch.notices.items():
            if now >= notice.due():
                said.alerts.append(notice.alert(key, "firing", now, self._terms.config_version))
        return said

    def due(self) -> float:
        """When time alone next changes something; infinite when nothing waits."""
        return min(
            due(self.throttling, self._terms, self._troubles()),
            self.watch.unanswered.due(self.throttling.now, self._ack_wait_s),
            min((notice.due() for notice in self.watch.notices.values()), default=float("inf")),
        )

    def _troubles(self) -> list[Trouble]:
        if self._known is None:
            self._known = self.incidents.troubles(self._terms)
        return self._known

    def _spared(self, before: Alert, alert: Alert) -> None:
        """What a dry run would have kept from being spent: the incident's growth, over all scopes taken for it."""
        dry = [
            climb
            for climb in self.throttling.climbs.values()
            if climb.active and climb.mode == "dry_run" and climb.fingerprint == alert.fingerprint
        ]
        grown = alert.excess_nanos - before.excess_nanos
        if not dry or grown <= 0:
            return
        calls = {trace.trace_id: trace.calls for trace in alert.evidence.traces}
        earlier = {trace.trace_id: trace.calls for trace in before.evidence.traces}
        for place, climb in enumerate(dry):
            share = grown * (place + 1) // len(dry) - grown * place // len(dry)
            known = self._traffic.get(climb.scope.key, Traffic(0, 0))
            made = max(0, calls.get(climb.value, 0) - earlier.get(climb.value, 0))
            self._traffic[climb.scope.key] = Traffic(known.calls + made, known.spent + share)

    def _event(self, told: Told) -> ThrottleEvent:
        alert = self.incidents.get(told.fingerprint)
        return ThrottleEvent(
            change=told.kind,
            scope=told.scope,
            action=told.action,
            mode=told.mode,
            rule=told.rule,
            alert_fingerprint=told.fingerprint,
            workflow=_whose(told, alert),
            team=None if alert is None else alert.team,
            at=_at(told.at),
            since=_at(told.since),
            why=told.why or None,
            spared_nanos=told.spared,
            proposal=told.proposal,
            config_version=self._terms.config_version,
        )

    def _ask(self, told: Told, said: Said) -> None:
        """People are told that something waits for them, and when it no longer does."""
        key = _APPROVAL + told.proposal
        if told.kind != "proposed":
            self._over(key, told.at, said)
            return
        alert = self.incidents.get(told.fingerprint)
        rule = self._terms.rules[told.rule]
        why = "" if alert is None else f" {alert.summary}"[:_REASON]
        self._open(
            key,
            Notice(
                what="approval",
                workflow=_whose(told, alert),
                team=None if alert is None else alert.team,
                severity="critical" if alert is not None and alert.severity == "critical" else "warning",
                summary=f"Rule {rule.name} waits for a yes to throttle {told.scope.key}: "
                f"`tidegate approve {told.proposal}`.{why}",
                since=told.at,
            ),
            told.at,
            said,
        )

    def _complain(self, now: float, said: Said) -> None:
        late = self.watch.unanswered.late(now, self._ack_wait_s)
        for scope_key, problem in late.items():
            key = _UNANSWERED + scope_key
            if key in self.watch.notices:
                continue
            awaited = self.watch.unanswered.scopes[scope_key]
            alert = self.incidents.get(awaited.fingerprint)
            self._open(
                key,
                Notice(
                    what="unanswered",
                    workflow=scope_key if alert is None else alert.workflow,
                    team=None if alert is None else alert.team,
                    severity="critical",
                    summary=f"The {awaited.action} of {scope_key} cannot be relied on: {problem}.",
                    since=now,
                ),
                now,
                said,
            )
        for key in [key for key in self.watch.notices if key.startswith(_UNANSWERED)]:
            if key.removeprefix(_UNANSWERED) not in late:
                self._over(key, now, said)

    def _open(self, key: str, notice: Notice, now: float, said: Said) -> None:
        self.watch.notices[key] = notice
        said.alerts.append(notice.alert(key, "firing", now, self._terms.config_version))

    def _over(self, key: str, now: float, said: Said) -> None:
        notice = self.watch.notices.pop(key, None)
        if notice is not None:
            said.alerts.append(notice.alert(key, "resolved", now, self._terms.config_version))


def _whose(told: Told, alert: Alert | None) -> str:
    return alert.workflow if alert is not None else told.scope.workflow or told.scope.value


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)

"""The daily digest: what fires, what ended within the day, and what that cost. No I/O: the time is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from schemas.alerts import Alert
from schemas.control import Daily
from schemas.notifications import NotificationLogEntry
from service.notify.group import lead
from service.notify.notification import RANK, Change, HeldBack, Line, Notification
from service.notify.outbox import Delivery

GROUP: Final = "daily"
DAY: Final = timedelta(days=1)
_LATE: Final = timedelta(hours=12)
"""A digest that could not be sent for so long is not sent any more: the next one is nearer."""
MAX_LINES: Final = 200


class Chronicle(Protocol):
    """What the daily digests ask for."""

    def daily(self, receiver: str) -> Daily | None: ...
    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None: ...
    def of_the_day(self, receiver: str, since: datetime) -> Sequence[Alert] | None:
        """Latest records of the alerts that concern a receiver and went on at some time since then.

        None: that has to be read first, and it is told to look again.
        """
        ...


def moment(daily: Daily, before: datetime) -> datetime:
    """The latest time not after `before` at which a digest was or is due, UTC."""
    zone = ZoneInfo(daily.timezone)
    hour, minute = (int(part) for part in daily.at.split(":"))
    day = before.astimezone(zone).date() + timedelta(days=1)
    while True:
        # 24:00 is the next day's 00:00. A time that clocks skip is as many minutes after the gap.
        date = day + timedelta(days=hour // 24)
        local = datetime(date.year, date.month, date.day, hour % 24, minute, tzinfo=zone)
        found = local.astimezone(UTC)
        if found <= before:
            return found
        day -= timedelta(days=1)


def digest(
    receiver: str, alerts: Iterable[Alert], since: datetime, now: datetime, incident: str
) -> Notification:
    """The digest of what went on from `since` to `now`."""
    ordered = sorted(alerts, key=lambda a: (-RANK[a.severity], -a.started_at.timestamp(), a.fingerprint))
    firing = tuple(Line(a) for a in ordered if a.status == "firing")[:MAX_LINES]
    resolved = tuple(Line(a) for a in ordered if a.status == "resolved")[:MAX_LINES]
    return Notification(
        receiver=receiver,
        group=GROUP,
        labels=(),
        incident=incident,
        sequence=1,
        at=now,
        changes=frozenset({Change.DIGEST}),
        firing=firing,
        resolved=resolved,
        lead=lead(firing, resolved),
        occasion="daily",
        omitted=len(ordered) - len(firing) - len(resolved),
        held_back=HeldBack(len(ordered)),
        since=since,
    )


class DailyBox:
    """One receiver's daily digests: at most one a day, and none that is half a day late."""

    def __init__(
        self, receiver: str, chronicle: Chronicle, began: datetime, ask: Callable[[datetime], None]
    ) -> None:
        """`began`: the first digest ever is of a time after it. `ask`: have the alerts since then read."""
        self._receiver = receiver
        self._chronicle = chronicle
        self._began = began
        self._skipped = datetime.fromtimestamp(0, UTC)
        self._ask = ask
        self._out = False

    def _due(self, now: datetime) -> datetime | None:
        """Of a digest that is due and has not been sent."""
        if self._out or (daily := self._chronicle.daily(self._receiver)) is None:
            return None
        entry = self._chronicle.entry(self._receiver, GROUP)
        # A restart at the very time of a digest must not lose it: only the first one depends on the process.
        last = max(self._skipped, entry.sent_at if entry is not None else self._began)
        at = moment(daily, now)
        return at if last < at and now - at <= _LATE else None

    def take(self, now: datetime) -> Delivery | None:
        at, daily = self._due(now), self._chronicle.daily(self._receiver)
        if at is None or daily is None:
            return None
        alerts = self._chronicle.of_the_day(self._receiver, at - DAY)
        if alerts is None:
            self._ask(at - DAY)
            return None
        # Late, after a restart, it says the same: what began since is the next one's.
        alerts = [alert for alert in alerts if alert.started_at < at]
        if not alerts and not daily.even_if_quiet:
            self._skipped = at
            return None
        self._out = True
        said = digest(self._receiver, alerts, at - DAY, now, f"daily-{int(at.timestamp())}")
        return Delivery(said, at, {})

    def wake_at(self, now: datetime) -> datetime | None:
        daily = self._chronicle.daily(self._receiver)
        if self._out or daily is None or self._due(now) is not None:
            return None  # it is told when the alerts have been read
        return moment(daily, now + DAY)

    def refresh(self, delivery: Delivery, now: datetime) -> bool:
        return now - delivery.due <= _LATE

    def done(self, delivery: Delivery, now: datetime, reference: str | None = None) -> NotificationLogEntry:
        said = delivery.said
        return NotificationLogEntry(
            receiver=self._receiver,
            group=GROUP,
            incident=said.incident,
            sequence=1,
            first_at=now,
            sent_at=now,
            reference=reference,
        )

    def give_up(self, delivery: Delivery, now: datetime, *, final: bool) -> NotificationLogEntry:
        return self.done(delivery, now)

    def back(self, delivery: Delivery) -> None:
        self._out, self._skipped = False, max(self._skipped, delivery.due)

    def waiting(self, now: datetime) -> int:
        return int(self._out or self._due(now) is not None)

    def clear(self) -> None:
        self._out = False

"""From what there is to say to the notification, and from a delivered notification to what is remembered. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from schemas.notifications import MAX_ENDED, MAX_RECENT, EndedAlert, NotificationLogEntry, ToldAlert
from service.notify import storm
from service.notify.group import Look, lead
from service.notify.notification import RANK, HeldBack, Line, Links, Notification
from service.rules.measures import told_at


def incident_key(group: str, lines: Iterable[Line]) -> str:
    """Key of a group's new incident, by the alert of it that began first: the same however often it is asked."""
    first = min((line.alert.started_at.isoformat(), line.alert.fingerprint) for line in lines)
    return hashlib.blake2b("\0".join((group, *first)).encode(), digest_size=12).hexdigest()


def notification(
    receiver: str,
    group: str,
    labels: tuple[tuple[str, str], ...],
    found: Look,
    entry: NotificationLogEntry | None,
    now: datetime,
    *,
    incident: str | None = None,
    held_back: HeldBack | None = None,
    links: Links | None = None,
    remark: str | None = None,
) -> Notification:
    """What a look found, as it is said.

    Parameters
    ----------
    incident : str or None
        The group's incident where another receiver knows it already.
    """
    opened = entry is None or not entry.firing
    if not opened and entry is not None:
        key = entry.incident
    else:
        key = incident or incident_key(group, (*found.firing, *found.resolved))
    goes_on = entry is not None and entry.incident == key
    return Notification(
        receiver=receiver,
        group=group,
        labels=labels,
        incident=key,
        sequence=entry.sequence + 1 if entry is not None and goes_on else 1,
        at=now,
        changes=found.changes,
        firing=found.firing,
        resolved=found.resolved,
        lead=lead(found.firing, found.resolved),
        occasion="storm" if storm.is_digest(group) else "incident",
        omitted=found.omitted,
        reference=entry.reference if entry is not None and goes_on else None,
        held_back=held_back,
        escalated_from=found.escalated_from,
        links=links or Links(),
        remark=remark,
    )


def remember(
    said: Notification,
    entry: NotificationLogEntry | None,
    now: datetime,
    window: timedelta,
    reference: str | None = None,
) -> NotificationLogEntry:
    """What the receiver knows once it has a notification.

    Parameters
    ----------
    window : timedelta
        For how long a delivery counts towards the receiver's cap.
    """
    known = {told.fingerprint: told for told in entry.firing} if entry is not None else {}
    for line in said.resolved:
        known.pop(line.alert.fingerprint, None)
    for line in said.firing:
        known[line.alert.fingerprint] = _told(line, known.get(line.alert.fingerprint), now)
    same = entry is not None and entry.incident == said.incident
    recent = [at for at in entry.recent if at > now - window] if entry is not None else []
    return NotificationLogEntry(
        receiver=said.receiver,
        group=said.group,
        incident=said.incident,
        sequence=said.sequence,
        first_at=entry.first_at if entry is not None and same else now,
        sent_at=now,
        firing=list(known.values()),
        ended=_ended(entry, said.resolved),
        # A digest needs no room, so it takes none.
        recent=recent if said.held_back is not None else [*recent, now][-MAX_RECENT:],
        reference=reference or said.reference,
    )


def given_up(said: Notification, entry: NotificationLogEntry | None) -> NotificationLogEntry | None:
    """What is remembered of a notification that nobody took: only that its ends need not be told any more."""
    if entry is None or not said.resolved:
        return None
    over = {line.alert.fingerprint for line in said.resolved}
    return entry.model_copy(
        update={
            "firing": [told for told in entry.firing if told.fingerprint not in over],
            "ended": _ended(entry, said.resolved),
        }
    )


def _told(line: Line, before: ToldAlert | None, now: datetime) -> ToldAlert:
    severity = line.alert.severity
    if before is not None and (line.change is None or RANK[before.severity] > RANK[severity]):
        severity = before.severity
    taken = line.acknowledgement is not None
    return ToldAlert(
        fingerprint=line.alert.fingerprint,
        severity=severity,
        told_at=before.told_at if before is not None else now,
        # Only what was said counts: an acknowledgement that comes along with other news was.
        acknowledged=taken,
        throttled_at=told_at(line.measures) or (before.throttled_at if before is not None else None),
    )


def _ended(entry: NotificationLogEntry | None, over: Sequence[Line]) -> list[EndedAlert]:
    ends = {one.fingerprint: one for one in entry.ended} if entry is not None else {}
    for line in over:
        ends.pop(line.alert.fingerprint, None)
        ends[line.alert.fingerprint] = EndedAlert(
            fingerprint=line.alert.fingerprint, sequence=line.alert.sequence
        )
    return list(ends.values())[-MAX_ENDED:]

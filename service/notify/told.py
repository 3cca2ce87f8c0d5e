"""Who knows what: the notification log as it amounts to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from schemas.notifications import NotificationLogEntry, ToldAlert
from service.notify import storm

KEEP: Final = timedelta(days=100)
"""Longer than the alerts topic keeps its records: while an alert can be read again, it is known who was told."""


def log_key(receiver: str, group: str) -> str:
    return f"{receiver}/{group}"


class Told:
    """The last entry for each receiver and group, and where each alert was told."""

    def __init__(self) -> None:
        self._entries: dict[str, NotificationLogEntry] = {}
        self._groups: dict[tuple[str, str], str] = {}  # (receiver, fingerprint) that fires, to its group
        self._open: dict[str, dict[str, str]] = {}  # group to receiver to the incident that is open there

    def apply(self, entry: NotificationLogEntry) -> None:
        """Take in an entry. Idempotent."""
        key = log_key(entry.receiver, entry.group)
        self._unlink(key)
        self._entries[key] = entry
        for alert in entry.firing:
            self._groups[entry.receiver, alert.fingerprint] = entry.group
        if entry.firing:
            self._open.setdefault(entry.group, {})[entry.receiver] = entry.incident

    def forget(self, key: str) -> None:
        """Apply a tombstone."""
        self._unlink(key)
        self._entries.pop(key, None)

    def _unlink(self, key: str) -> None:
        if (old := self._entries.get(key)) is None:
            return
        for alert in old.firing:
            if self._groups.get((old.receiver, alert.fingerprint)) == old.group:
                del self._groups[old.receiver, alert.fingerprint]
        there = self._open.get(old.group, {})
        there.pop(old.receiver, None)
        if not there:
            self._open.pop(old.group, None)

    def entry(self, receiver: str, group: str) -> NotificationLogEntry | None:
        return self._entries.get(log_key(receiver, group))

    def group_of(self, receiver: str, fingerprint: str) -> str | None:
        """The group in which a receiver was told that an alert fires; None if it does not believe so."""
        return self._groups.get((receiver, fingerprint))

    def alert(self, receiver: str, fingerprint: str) -> ToldAlert | None:
        """What a receiver believes of an alert that fires."""
        group = self.group_of(receiver, fingerprint)
        entry = self.entry(receiver, group) if group is not None else None
        found = (told for told in entry.firing if told.fingerprint == fingerprint) if entry else ()
        return next(iter(found), None)

    def incident_of(self, group: str) -> str | None:
        """The incident of a group that is open at some receiver: it is the same one at all of them."""
        return min(self._open.get(group, {}).values(), default=None)

    def believers(self, receiver: str) -> Iterator[tuple[str, str]]:
        """(fingerprint, group) of all that a receiver believes to fire."""
        return (
            (fingerprint, group) for (name, fingerprint), group in self._groups.items() if name == receiver
        )

    def recent(self, receiver: str) -> list[datetime]:
        """When a receiver was told something lately, in order."""
        prefix = f"{receiver}/"
        return sorted(
            at
            for key, entry in self._entries.items()
            if key.startswith(prefix) and entry.receiver == receiver
            for at in entry.recent
        )

    def last_digest(self, receiver: str) -> datetime | None:
        """When a receiver was last told of a storm."""
        prefix = log_key(receiver, storm.PREFIX)
        found = (entry.first_at for key, entry in self._entries.items() if key.startswith(prefix))
        return max(found, default=None)

    def expired(self, now: datetime) -> list[str]:
        """Keys of entries that no alert that still exists can be about."""
        return [key for key, entry in self._entries.items() if now - entry.sent_at > KEEP]

    def __len__(self) -> int:
        return len(self._entries)

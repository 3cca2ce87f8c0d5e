"""One record of the config topic as it was written, and what the audit trail says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka import ConsumerRecord

from schemas.control import ConfigChange
from schemas.decode import MAX_BYTES
from service.kafka.config_fold import key_of
from service.kafka.reader import written_at
from service.rules.config_signature import signature_in


@dataclass(frozen=True, slots=True)
class Change:
    """One record of the topic, accepted or not."""

    key: str
    value: bytes | None
    offset: int
    at: datetime
    headers: Sequence[tuple[str, bytes | None]] = ()

    @classmethod
    def of(cls, record: ConsumerRecord) -> Change:
        return cls(key_of(record), record.value, record.offset, written_at(record), tuple(record.headers))


@dataclass(frozen=True, slots=True)
class Intent:
    """Who changes what for which reason, for the audit trail. `by`: `cli`, or the role that writes it down."""

    command: str = "apply"
    author: str | None = None
    reason: str | None = None
    by: str = "cli"


def history_entry(
    change: Change, intent: Intent, together: str, signature: str | None = None
) -> ConfigChange:
    """What the audit trail says of one record. `together` is common to what was changed at once."""
    return ConfigChange.model_validate(
        {
            "key": change.key[:4_000],
            "offset": change.offset,
            "written_at": change.at,
            "value": None if change.value is None else change.value[:MAX_BYTES],
            "size": len(change.value or b""),
            "signature": signature or signature_in(change.headers),
            "command": intent.command,
            "change": together,
            "author": intent.author,
            "reason": intent.reason,
            "recorded_by": intent.by,
        }
    )

"""Records of the trail to test with."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.control import ConfigChange, Control, Launch, Tuning, TuningScope, TuningSettings
from service.kafka.config_change import Change, Intent, history_entry
from service.rules.config import control_key
from tests.service.notify.support import NOW

HOUR = timedelta(hours=1)


class Writer:
    """Writes to a config topic as `tidegate config` does, and says what the trail has of it then."""

    def __init__(self) -> None:
        self.offset = 0
        self.number = 0

    def write(
        self,
        at: datetime,
        *records: Control | str,
        author: str | None = "ada",
        reason: str | None = None,
        command: str = "apply",
        by: str = "cli",
    ) -> list[ConfigChange]:
        """Records at once; a key deletes."""
        self.number += 1
        found = []
        for record in records:
            key = record if isinstance(record, str) else control_key(record)
            value = None if isinstance(record, str) else record.to_json()
            change = Change(key, value, self.offset, at)
            found.append(history_entry(change, Intent(command, author, reason, by), f"c{self.number}"))
            self.offset += 1
        return found


def tuning(name: str = "search", pending_s: float = 60.0, **fields: Any) -> Tuning:
    return Tuning(
        name=name,
        scope=TuningScope(workflow=fields.pop("workflow", None)),
        settings=TuningSettings(pending_s=pending_s),
        **fields,
    )


def launch(name: str = "spring", **changed: Any) -> Launch:
    """From an hour from now on, for two hours."""
    fields: dict[str, Any] = {
        "name": name,
        "workflow": "shop-assistant",
        "starts_at": NOW + HOUR,
        "ends_at": NOW + 3 * HOUR,
        "volume_multiple": 20.0,
        "cap_usd": Decimal(4_000),
        "owner": "grace@example.com",
        **changed,
    }
    return Launch(**fields)

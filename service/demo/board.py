"""Everything the demo has heard so far: from the driver, from the topics, from the receivers."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from schemas.alerts import Alert
from schemas.decode import decode, validate
from schemas.throttles import ThrottleAck, ThrottleCommand
from schemas.topics import ALERTS, DEAD_LETTERS, THROTTLE_ACKS, THROTTLE_COMMANDS, WORKFLOW_STATE
from service.demo.ledger import Accounts, Sum


@dataclass(slots=True)
class Injected:
    """A scripted event that has begun. Wall times in epoch seconds; `ends` in event time."""

    name: str
    workflow: str
    kind: str
    benign: bool
    trace_id: str | None
    at: float
    ends: float
    throttled_at: float | None = None
    gave_up: bool = False


@dataclass(slots=True)
class Board:
    """The present picture.

    Attributes
    ----------
    event_time : float
        Up to where the driver has published, epoch seconds.
    progress : float
        Of the backfill, 0 to 1.
    alerts : dict
        The latest record of each incident, by fingerprint, in order of their first.
    throttles : dict
        The latest command for each scope.
    """

    published: dict[str, Sum] = field(default_factory=dict)
    event_time: float = 0.0
    progress: float = 0.0
    caught_up: bool = False
    ended: bool = False
    others: Counter[str] = field(default_factory=Counter)
    injected: list[Injected] = field(default_factory=list)
    accounts: Accounts = field(default_factory=Accounts)
    alerts: dict[str, Alert] = field(default_factory=dict)
    alert_records: int = 0
    throttles: dict[str, ThrottleCommand] = field(default_factory=dict)
    commands: Counter[str] = field(default_factory=Counter)
    acks: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def hear(self, line: dict[str, Any]) -> None:
        """One line of the driver."""
        match line["what"]:
            case "totals" | "ended":
                self.published = {name: Sum(*sums) for name, sums in line["workflows"].items()}
                self.event_time, self.progress = line["event_time"], line["progress"]
                self.ended = line["what"] == "ended"
                for name in ("rejected", "duplicate", "malformed"):
                    self.others[name] = line[name]
            case "caught_up":
                self.caught_up = True
            case "injected":
                self.injected.append(Injected(**{k: v for k, v in line.items() if k != "what"}))
            case "throttled":
                self._throttled(validate(ThrottleCommand, line["command"]), line["at"])
            case "gave_up":
                for one in self.injected:
                    one.gave_up = one.gave_up or one.name == line["name"]
            case "unreadable":
                self.notes.append(f"the driver cannot read {line['topic']}/{line['offset']}: {line['why']}")

    def read(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """One record of a topic, by the topic's name in the contract. Raises Refused."""
        if topic == WORKFLOW_STATE.name:
            self.accounts.take(partition, key, value)
        elif value is None:
            return
        elif topic == ALERTS.name:
            alert = decode(Alert, value)
            self.alerts[alert.fingerprint] = alert
            self.alert_records += 1
        elif topic == THROTTLE_COMMANDS.name:
            command = decode(ThrottleCommand, value)
            known = self.throttles.get(command.scope.key)
            if known is None or known.sequence < command.sequence:
                self.throttles[command.scope.key] = command
            self.commands[command.action.action] += 1
        elif topic == THROTTLE_ACKS.name:
            self.acks[decode(ThrottleAck, value).result] += 1
        elif topic == DEAD_LETTERS.name:
            self.dead_letters["records"] += 1

    def _throttled(self, command: ThrottleCommand, at: float) -> None:
        """The driver obeys a command: note it with the scripted events that it is about."""
        scope = command.scope
        for one in self.injected:
            if one.throttled_at is not None or one.benign:
                continue
            if scope.kind == "trace":
                concerned = scope.value == one.trace_id
            else:
                concerned = one.workflow in (scope.workflow, scope.value)
            if concerned:
                one.throttled_at = at

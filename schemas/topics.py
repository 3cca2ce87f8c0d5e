"""The one table of topics. `tidegate topics create` makes them, `tidegate topics check` compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from schemas.alerts import Alert
from schemas.base import Record
from schemas.budgets import BudgetSnapshot
from schemas.control import ConfigChange, ConfigRejection, Control
from schemas.dead_letters import DeadLetter, DeadLetterReplay
from schemas.events import CostEvent, Outcome
from schemas.feedback import Feedback
from schemas.notifications import Acknowledgement, NotificationLogEntry, ParkedNotification
from schemas.outcomes import OutcomeRollup, TraceCosts
from schemas.rollups import Rollup, Tick
from schemas.throttles import ThrottleAck, ThrottleCommand, ThrottleEvent

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what it holds, how it is keyed, and how long it is kept.

    Attributes
    ----------
    partitions : int or None
        None: as many as the setting `kafka.partitions` says (only topics that carry volume).
    cleanup : str
        `cleanup.policy`, also `compact,delete`.
    retention_ms : int
        -1 keeps for ever.
    """

    name: str
    records: tuple[type[Record], ...]
    key: str
    partitions: int | None
    cleanup: Literal["delete", "compact", "compact,delete"]
    retention_ms: int


COST_EVENTS = Topic("cost-events", (CostEvent,), "workflow (any key is accepted)", None, "delete", 7 * DAY_MS)
OUTCOMES = Topic("outcomes", (Outcome,), "trace_id", None, "delete", 7 * DAY_MS)
TRACE_COSTS = Topic("trace-costs", (TraceCosts,), "workflow", None, "delete", 7 * DAY_MS)
OUTCOME_TRACES = Topic("outcome-traces", (), "trace/trace_id, progress", 1, "compact", -1)
ROLLUPS = Topic(
    "rollups",
    (Rollup, OutcomeRollup, Tick),
    "workflow, or kind and value of a scope; ticks go to every partition",
    None,
    "delete",
    7 * DAY_MS,
)
DEAD_LETTERS = Topic("dead-letters", (DeadLetter,), "topic/partition/offset", 1, "delete", 30 * DAY_MS)
DEAD_LETTER_REPLAYS = Topic(
    "dead-letter-replays", (DeadLetterReplay,), "topic/partition/offset", 1, "compact", -1
)
ALERTS = Topic("alerts", (Alert,), "fingerprint", 1, "delete", 90 * DAY_MS)
THROTTLE_COMMANDS = Topic("throttle-commands", (ThrottleCommand,), "scope", 1, "compact,delete", 7 * DAY_MS)
THROTTLE_ACKS = Topic("throttle-acks", (ThrottleAck,), "command_id", 1, "delete", 7 * DAY_MS)
THROTTLE_EVENTS = Topic("throttle-events", (ThrottleEvent,), "scope", 1, "delete", 90 * DAY_MS)
THROTTLE_STATE = Topic("throttle-state", (), "throttling, incident/fingerprint", 1, "compact", -1)
BUDGETS = Topic("budgets", (BudgetSnapshot,), "the budget's name", 1, "compact", -1)
BUDGET_LEDGERS = Topic("budget-ledgers", (), "ledger/budget, usual/budget, progress", 1, "compact", -1)
CONFIG = Topic("config", (Control,), "kind/name", 1, "compact", -1)
CONFIG_HISTORY = Topic("config-history", (ConfigChange,), "kind/name", 1, "delete", -1)
CONFIG_REJECTIONS = Topic("config-rejections", (ConfigRejection,), "kind/name", 1, "delete", 30 * DAY_MS)
ACKNOWLEDGEMENTS = Topic(
    "acknowledgements", (Acknowledgement,), "fingerprint", 1, "compact,delete", 90 * DAY_MS
)
FEEDBACK = Topic("feedback", (Feedback,), "fingerprint", 1, "compact", -1)
NOTIFICATION_LOG = Topic("notification-log", (NotificationLogEntry,), "receiver/group", 1, "compact", -1)
PARKED_NOTIFICATIONS = Topic(
    "parked-notifications", (ParkedNotification,), "receiver/fingerprint", 1, "delete", 30 * DAY_MS
)
WORKFLOW_STATE = Topic(
    "workflow-state", (), "workflow (detect's changelog, MessagePack)", None, "compact", -1
)

TOPICS: Final = (
    COST_EVENTS,
    OUTCOMES,
    TRACE_COSTS,
    OUTCOME_TRACES,
    ROLLUPS,
    DEAD_LETTERS,
    DEAD_LETTER_REPLAYS,
    ALERTS,
    THROTTLE_COMMANDS,
    THROTTLE_ACKS,
    THROTTLE_EVENTS,
    THROTTLE_STATE,
    BUDGETS,
    BUDGET_LEDGERS,
    CONFIG,
    CONFIG_HISTORY,
    CONFIG_REJECTIONS,
    ACKNOWLEDGEMENTS,
    FEEDBACK,
    NOTIFICATION_LOG,
    PARKED_NOTIFICATIONS,
    WORKFLOW_STATE,
)
BY_NAME: Final = {topic.name: topic for topic in TOPICS}

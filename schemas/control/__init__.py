"""Records of the config topic: what ops change while everything runs.

Key: `KIND/NAME`. A tombstone deletes. The topic is compacted and has one partition, so that every worker sees
the same order. Unlike events, a control record with an unknown field is refused: a typo must not pass for a
setting.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from schemas.control.budget import Budget
from schemas.control.guard import Approval, Guard, Protected, Switch
from schemas.control.history import ConfigChange
from schemas.control.launch import Launch
from schemas.control.outcomes import Outcomes
from schemas.control.price import Price, PriceStep
from schemas.control.quiet import Inhibit, Interval, Maintenance, Side, Silence
from schemas.control.receiver import Cap, Daily, Owner, ReceiverPolicy
from schemas.control.record import Control, Match, Pattern, Seconds, Spec
from schemas.control.rejection import ConfigRejection
from schemas.control.route import Escalation, GroupLabel, Route, Timing
from schemas.control.rule import (
    Ladder,
    Rule,
    RuleAction,
    RuleBlock,
    RuleCap,
    RuleDowngrade,
    RuleRelease,
    RuleSlow,
    Rung,
)
from schemas.control.tuning import MAX_ANSWERS, Answer, Tuning, TuningScope, TuningSettings
from schemas.control.watch import MANY_VALUED, Watch

__all__ = [
    "CONTROL",
    "CONTROL_KINDS",
    "MANY_VALUED",
    "MAX_ANSWERS",
    "Answer",
    "Approval",
    "Budget",
    "Cap",
    "ConfigChange",
    "ConfigRejection",
    "Control",
    "ControlRecord",
    "Daily",
    "Escalation",
    "GroupLabel",
    "Guard",
    "Inhibit",
    "Interval",
    "Ladder",
    "Launch",
    "Maintenance",
    "Match",
    "Outcomes",
    "Owner",
    "Pattern",
    "Price",
    "PriceStep",
    "Protected",
    "ReceiverPolicy",
    "Route",
    "Rule",
    "RuleAction",
    "RuleBlock",
    "RuleCap",
    "RuleDowngrade",
    "RuleRelease",
    "RuleSlow",
    "Rung",
    "Seconds",
    "Side",
    "Silence",
    "Spec",
    "Switch",
    "Timing",
    "Tuning",
    "TuningScope",
    "TuningSettings",
    "Watch",
]

ControlRecord = Annotated[
    Tuning
    | Budget
    | Rule
    | Switch
    | Guard
    | Approval
    | Launch
    | Silence
    | Route
    | Price
    | Watch
    | Outcomes
    | Maintenance
    | Inhibit
    | ReceiverPolicy
    | Owner,
    Field(discriminator="kind"),
]
CONTROL_KINDS: dict[str, type[Control]] = {
    "tuning": Tuning,
    "budget": Budget,
    "rule": Rule,
    "switch": Switch,
    "guard": Guard,
    "approval": Approval,
    "launch": Launch,
    "silence": Silence,
    "route": Route,
    "price": Price,
    "watch": Watch,
    "outcomes": Outcomes,
    "maintenance": Maintenance,
    "inhibit": Inhibit,
    "receiver_policy": ReceiverPolicy,
    "owner": Owner,
}
CONTROL: TypeAdapter[
    Tuning
    | Budget
    | Rule
    | Switch
    | Guard
    | Approval
    | Launch
    | Silence
    | Route
    | Price
    | Watch
    | Outcomes
    | Maintenance
    | Inhibit
    | ReceiverPolicy
    | Owner
] = TypeAdapter(ControlRecord)

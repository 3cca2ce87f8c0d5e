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
from schemas.control.record import Control, Match, Pattern, Seconds, Spec
from schemas.control.rejection import ConfigRejection
from schemas.control.route import Route, Silence
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
from schemas.control.tuning import Tuning, TuningScope, TuningSettings
from schemas.control.watch import MANY_VALUED, Watch

__all__ = [
    "CONTROL",
    "CONTROL_KINDS",
    "MANY_VALUED",
    "Approval",
    "Budget",
    "ConfigChange",
    "ConfigRejection",
    "Control",
    "ControlRecord",
    "Guard",
    "Ladder",
    "Launch",
    "Match",
    "Outcomes",
    "Pattern",
    "Price",
    "PriceStep",
    "Protected",
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
    "Silence",
    "Spec",
    "Switch",
    "Tuning",
    "TuningScope",
    "TuningSettings",
    "Watch",
]

ControlRecord = Annotated[
    Tuning | Budget | Rule | Switch | Guard | Approval | Launch | Silence | Route | Price | Watch | Outcomes,
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
}
CONTROL: TypeAdapter[
    Tuning | Budget | Rule | Switch | Guard | Approval | Launch | Silence | Route | Price | Watch | Outcomes
] = TypeAdapter(ControlRecord)

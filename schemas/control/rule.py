"""Rules: what is done to the traffic while an incident fires, and in which steps."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import Usd
from schemas.control.record import Control, Match, Spec
from schemas.throttles import Block, Cap, Downgrade, Release, ScopeKind, Slow


class RuleSlow(Slow):
    model_config = ConfigDict(extra="forbid")


class RuleDowngrade(Downgrade):
    model_config = ConfigDict(extra="forbid")


class RuleCap(Cap):
    model_config = ConfigDict(extra="forbid")


class RuleBlock(Block):
    model_config = ConfigDict(extra="forbid")


class RuleRelease(Release):
    model_config = ConfigDict(extra="forbid")


# A gateway that reads a command takes fields it does not know yet; a person who writes a rule must not.
RuleAction = Annotated[
    RuleSlow | RuleDowngrade | RuleCap | RuleBlock | RuleRelease, Field(discriminator="action")
]


_STRENGTH: Final = ("slow", "downgrade", "cap", "block")


class Rung(Spec):
    """One step of a ladder: anything gentler than a block, which can only be the last."""

    action: Annotated[RuleSlow | RuleDowngrade | RuleCap, Field(discriminator="action")]
    hold_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        60.0, description="when the incident goes on for so long under it, the next step is taken"
    )


class Ladder(Spec):
    """How a throttle grows stronger, and how it ends."""

    rungs: Annotated[list[Rung], Field(max_length=6)] = Field(
        [], description="gentler steps before the rule's own action, never a stronger one before a gentler"
    )
    min_s: Annotated[float, Field(ge=0, le=86_400)] = Field(60.0, description="no throttle ends sooner")
    max_s: Annotated[float, Field(ge=10, le=604_800)] = Field(
        14_400.0,
        description="none lasts longer: it is released, and not taken again before the incident was over",
    )
    clear_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        120.0, description="quiet for so long before it is released; doubled each time that was too soon"
    )
    release_steps: Annotated[int, Field(ge=0, le=20)] = Field(
        4, description="equal steps of rate on the way back to the usual one"
    )
    release_every_s: Annotated[float, Field(ge=1, le=3_600)] = 30.0
    widen_s: Annotated[float, Field(ge=1, le=86_400)] | None = Field(
        None,
        description="when the incident goes on for so long under the last step, the next wider scope is taken too;"
        " absent = never",
    )
    max_scopes: Annotated[int, Field(ge=1, le=1_000)] = Field(
        5, description="scopes this rule may throttle at once"
    )
    approval: bool = Field(
        False, description="nothing is sent before a person says yes: see approval records"
    )
    approval_wait_s: Annotated[float, Field(ge=10, le=86_400)] = Field(
        900.0, description="… which is waited for so long"
    )

    @field_validator("rungs")
    @classmethod
    def _grows_stronger(cls, rungs: list[Rung]) -> list[Rung]:
        strengths = [_STRENGTH.index(rung.action.action) for rung in rungs]
        if strengths != sorted(strengths):
            raise PydanticCustomError("invalid_value", "steps go from slow to downgrade to cap")
        return rungs

    @field_validator("max_s")
    @classmethod
    def _lasts_longer_than_it_must(cls, most: float, info: ValidationInfo) -> float:
        if most < info.data.get("min_s", 0.0):
            raise PydanticCustomError("out_of_range", "max_s must not be less than min_s")
        return most


class Rule(Control):
    """What to do to the traffic while an incident fires."""

    kind: Literal["rule"] = "rule"
    match: Match = Match()
    min_excess_usd: Usd = Decimal(0)
    scope: Literal["narrowest", ScopeKind] = "narrowest"
    action: RuleAction
    mode: Literal["enforce", "dry_run"] = "dry_run"
    duration_s: Annotated[float, Field(ge=10, le=86_400)] = 600.0
    ladder: Ladder | None = Field(None, description="absent = the action at once")

    @field_validator("ladder")
    @classmethod
    def _ends_in_the_action(cls, ladder: Ladder | None, info: ValidationInfo) -> Ladder | None:
        action = info.data.get("action")
        if ladder is None or action is None:
            return ladder
        if action.action == "release":
            raise PydanticCustomError("invalid_value", "a rule that releases has no ladder")
        if ladder.rungs and _STRENGTH.index(ladder.rungs[-1].action.action) > _STRENGTH.index(action.action):
            raise PydanticCustomError(
                "invalid_value", "the rule's action is the last step: none may be stronger"
            )
        return ladder

"""Records of the config topic: what ops change while everything runs.

Key: `KIND/NAME`. A tombstone deletes. The topic is compacted and has one partition, so that every worker sees
the same order. Unlike events, a control record with an unknown field is refused: a typo must not pass for a
setting.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.alerts import Kind, Severity
from schemas.base import MAX_TOKENS, Count, Label, Ratio, Record, Text, Timestamp, Usd, Whole
from schemas.budgets import (
    BudgetScope,
    BudgetUsd,
    Globs,
    Increase,
    Message,
    Reserve,
    TimeZone,
    Window,
    exactly_one_amount,
)
from schemas.rollups import WatchKind
from schemas.throttles import Block, Cap, Downgrade, Release, ScopeKind, Slow

MANY_VALUED: Final = ("customer", "api_key")
"""Scopes of which there may be more than anybody wants to watch."""

Pattern = Annotated[str, Field(min_length=1, max_length=200, description="glob: `*`, `support-*`")]
Seconds = Annotated[float, Field(ge=0, le=2_678_400, allow_inf_nan=False)]


class Spec(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Control(Record):
    """What every record of the config topic says of itself."""

    model_config = ConfigDict(extra="forbid")

    name: Label
    author: Label | None = None
    reason: Text | None = None


class TuningScope(Spec):
    """Who a tuning is for. Order of precedence: global < team < workflow pattern < exact workflow."""

    team: Label | None = None
    workflow: Pattern | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.team is not None and self.workflow is not None:
            raise PydanticCustomError("invalid_value", "give a team or a workflow, not both")
        return self


class TuningSettings(Spec):
    """What can be tuned. What is left out is inherited; the defaults are in `service.rules.settings`."""

    enabled: bool | None = Field(None, description="false: watch and learn, but say nothing")
    min_excess_usd: Usd | None = Field(
        None, description="no incident below this many dollars over the expected"
    )
    min_excess_minutes: Annotated[float, Field(ge=0, le=1_440)] | None = Field(
        None, description="… nor below this many minutes of the workflow's normal spend"
    )
    page_budget: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None,
        description="false pages that are put up with, per workflow and month: more finds smaller incidents",
    )
    trace_quantile: Annotated[float, Field(ge=1e-9, le=0.1)] | None = Field(
        None,
        description="a live trace speaks only when at most this share of finished traces would be as large",
    )
    trace_min_usd: Usd | None = Field(None, description="… and has cost at least this much")
    launch_multiple: Annotated[float, Field(ge=1.5, le=1_000)] | None = Field(
        None, description="spend over expected that is called a launch when unit cost is as usual"
    )
    data_quality_share: Ratio | None = Field(
        None,
        description="share of a model's calls without a believable price, or of a workflow's records that are"
        " duplicates or late, that is told; 0 = never",
    )
    data_quality_min_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="… and at least this many of them within about ten minutes"
    )
    pending_s: Seconds | None = Field(None, description="how long a condition holds before it fires")
    resolve_s: Seconds | None = Field(None, description="how long it must be gone before it resolves")
    repeat_s: Annotated[float, Field(ge=1, le=86_400)] | None = Field(
        None, description="how often a firing alert is sent again"
    )


class Tuning(Control):
    kind: Literal["tuning"] = "tuning"
    scope: TuningScope = TuningScope()
    settings: TuningSettings


class Budget(Control):
    """A limit on spend over a window, told on the way to it and, if it is hard, enforced."""

    kind: Literal["budget"] = "budget"
    scope: BudgetScope
    window: Window
    rolling: bool = Field(
        False, description="the last hour, 24 hours, 7 or 30 days, instead of those of the calendar"
    )
    timezone: TimeZone = Field("UTC", description="IANA name: where a day begins")
    anchor_day: Annotated[int, Field(ge=1, le=31)] = Field(
        1,
        description="the day a month starts (31 = the last one of a shorter month), or a week (1 = Monday)",
    )
    amount_tokens: Whole | None = Field(None, description="input + output")
    amount_usd: BudgetUsd | None = Field(
        None, validate_default=True, description="either this or amount_tokens"
    )
    pace_at: Annotated[
        list[Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]], Field(max_length=10)
    ] = Field([0.7, 0.8], description="told when spend reaches this share of the expected pace")
    alert_at: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(max_length=10)] = Field(
        [1.0], description="told when spend reaches this share of the limit, at whatever pace"
    )
    alert_on_forecast: bool = Field(True, description="told when the forecast for the end exceeds the limit")
    purpose: Literal["production", "experiment", "test", "unknown_vendor"] | None = Field(
        None, description="what the spend is for; absent = by the scope's environment, else production"
    )
    hard: bool | None = Field(
        None, description="refuse calls at the limit; absent = unless its purpose is production"
    )
    grace_s: Seconds = Field(0.0, description="calls go on for so long after a hard limit is reached")
    grace_share: Ratio = Field(0.1, description="… but for no more than this share of the limit on top")
    rollover: Ratio = Field(
        0.0, description="unused amount of the window before is carried over, up to this share of the amount"
    )
    increases: Annotated[list[Increase], Field(max_length=8)] = []
    protected: Globs = Field([], description="workflows (globs) whose calls count and are never refused")
    reserve: Reserve | None = None
    fail: Literal["open", "closed"] = Field(
        "open", description="whether a gateway that has heard nothing for long lets calls pass"
    )
    message: Message | None = Field(None, description="for whom is refused")

    _one_amount = field_validator("amount_usd")(classmethod(exactly_one_amount))

    @field_validator("anchor_day")
    @classmethod
    def _day_of_the_window(cls, day: int, info: ValidationInfo) -> int:
        window = info.data.get("window", "month")
        if day != 1 and (window not in ("week", "month") or info.data.get("rolling")):
            raise PydanticCustomError(
                "invalid_value", "only a week or month of the calendar has an anchor day"
            )
        if window == "week" and day > 7:
            raise PydanticCustomError("out_of_range", "a week has the days 1 (Monday) to 7")
        return day

    @field_validator("rollover")
    @classmethod
    def _only_what_ends_leaves_something(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("rolling"):
            raise PydanticCustomError(
                "invalid_value", "a rolling window never ends: nothing can be carried over"
            )
        return share

    @field_validator("increases", "reserve")
    @classmethod
    def _same_unit(cls, value: Any, info: ValidationInfo) -> Any:
        in_tokens = info.data.get("amount_tokens") is not None
        parts = value if isinstance(value, list) else [value] if value is not None else []
        if "amount_tokens" in info.data and any((p.amount_tokens is not None) != in_tokens for p in parts):
            raise PydanticCustomError("invalid_value", "must be in dollars or tokens, as the budget is")
        return value


class Match(Spec):
    """Which alerts a rule, silence or route is about: all of what is given must match."""

    workflow: Pattern = "*"
    team: Pattern | None = None
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=20)] | None = None
    severities: Annotated[list[Severity], Field(min_length=1, max_length=3)] | None = None


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


class Protected(Spec):
    """A scope that is never throttled, nor anything within a protected workflow."""

    kind: ScopeKind = "workflow"
    value: Label = Field(description="glob")


class Guard(Control):
    """What no rule may do, in the whole installation."""

    kind: Literal["guard"] = "guard"
    name: Literal["throttles"] = "throttles"
    max_scopes: Annotated[int, Field(ge=1, le=10_000)] = Field(
        50, description="scopes that all rules together may throttle at once"
    )
    never: Annotated[list[Protected], Field(max_length=30)] = []


class Approval(Control):
    """A person's answer to a throttle that waits for one."""

    kind: Literal["approval"] = "approval"
    proposal: Label = Field(description="the id that was told with the proposal")
    decision: Literal["yes", "no"]
    author: Label
    expires_at: Timestamp | None = Field(None, description="the answer does not hold from then on")


class Switch(Control):
    """The switches of the whole installation."""

    kind: Literal["switch"] = "switch"
    name: Literal["throttles"] = "throttles"
    state: Literal["on", "off"] = Field(description="off releases every throttle and issues none")


class Launch(Control):
    """Volume that is meant: quiet about volume up to the cap; never quiet about unit cost."""

    kind: Literal["launch"] = "launch"
    workflow: Pattern
    starts_at: Timestamp
    ends_at: Timestamp
    volume_multiple: Annotated[float, Field(gt=1, le=100_000)]
    unit_cost_usd: Usd | None = Field(None, description="expected dollars per trace")
    cap_usd: Usd
    owner: Label
    review_at: Timestamp | None = None

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise PydanticCustomError("out_of_range", "ends_at must be later than starts_at")
        return self


class Silence(Control):
    """Say nothing about matching alerts until a time. Throttles go on."""

    kind: Literal["silence"] = "silence"
    match: Match
    starts_at: Timestamp
    ends_at: Timestamp
    author: Label
    reason: Text

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.ends_at <= self.starts_at:
            raise PydanticCustomError("out_of_range", "ends_at must be later than starts_at")
        return self


class Route(Control):
    """Which receivers (named in the settings, where their secrets are) get matching alerts."""

    kind: Literal["route"] = "route"
    match: Match = Match()
    receivers: Annotated[list[Label], Field(min_length=1, max_length=20)]


class PriceStep(Spec):
    """Rates of a contract for calls with long prompts: they hold for *all* tokens of such a call."""

    above_input_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = None
    cache_write_usd_per_mtok: Usd | None = None
    cache_write_1h_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd
    reasoning_usd_per_mtok: Usd | None = None


class Price(Control):
    """A contract price that replaces the list price from a date on. Dollars per million tokens."""

    kind: Literal["price"] = "price"
    provider: Label
    model: Label = Field(
        description="the list's own name of a model stands for its dated names too; any other only for itself"
    )
    service_tier: Label | None = Field(
        None,
        description="the class of service it is for: batch, flex, priority, …; absent = the standard one",
    )
    effective_from: Timestamp
    effective_until: Timestamp | None = Field(
        None, description="not effective any more from then on; absent = until another one is"
    )
    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = Field(None, description="absent = as input")
    cache_write_usd_per_mtok: Usd | None = Field(None, description="absent = as input")
    cache_write_1h_usd_per_mtok: Usd | None = Field(None, description="absent = as other cache writes")
    output_usd_per_mtok: Usd
    reasoning_usd_per_mtok: Usd | None = Field(None, description="absent = as output")
    per_request_usd: Usd | None = Field(None, description="on top of the tokens")
    steps: Annotated[list[PriceStep], Field(max_length=8)] = Field(
        [],
        description="other rates for long prompts, by rising size; without them the rates hold for any size",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.effective_until is not None and self.effective_until <= self.effective_from:
            raise PydanticCustomError("out_of_range", "effective_until must be later than effective_from")
        starts = [step.above_input_tokens for step in self.steps]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise PydanticCustomError("invalid_value", "each step must be above the one before it")
        return self


class Watch(Control):
    """Judge all calls that share a label as one, besides their workflows: a team, a customer, a key.

    Gateways are counted without one, as far as telling a silent one takes.
    """

    kind: Literal["watch"] = "watch"
    scope: WatchKind
    min_usd_per_hour: Usd | None = Field(
        None,
        description="a value is watched once it has spent so much within an hour, until it spends less than half;"
        " absent = 1 for customer and api_key, of which there may be many, else 0",
    )
    max_values: Annotated[int, Field(ge=1, le=10_000)] = Field(
        256, description="at most so many values at a time in each partition of cost-events"
    )

    @model_validator(mode="after")
    def _has_a_floor(self) -> Self:
        if self.scope in MANY_VALUED and self.min_usd_per_hour is not None and not self.min_usd_per_hour:
            raise PydanticCustomError(
                "out_of_range", "this scope has many values: min_usd_per_hour must not be 0"
            )
        return self

    @property
    def floor_usd(self) -> Decimal:
        """What a value must spend in an hour to be watched."""
        if self.min_usd_per_hour is not None:
            return self.min_usd_per_hour
        return Decimal(self.scope in MANY_VALUED)


ControlRecord = Annotated[
    Tuning | Budget | Rule | Switch | Guard | Approval | Launch | Silence | Route | Price | Watch,
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
}
CONTROL: TypeAdapter[
    Tuning | Budget | Rule | Switch | Guard | Approval | Launch | Silence | Route | Price | Watch
] = TypeAdapter(ControlRecord)


class ConfigRejection(Record):
    """A control record that was refused: nothing changed, and this says which field was wrong."""

    max_bytes: ClassVar[int] = 131_072

    key: Text
    offset: Count
    reason: Label
    path: Text
    detail: Text
    rejected_by: Label
    rejected_at: Timestamp

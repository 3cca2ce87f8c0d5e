"""What stands above the rules: limits of the whole installation, a person's answer, the switch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Label, Timestamp
from schemas.control.record import Control, Spec
from schemas.throttles import ScopeKind


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

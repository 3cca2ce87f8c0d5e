"""What a scope says of its own: what no workflow in it can say for itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from service.detect.merge import shares_of
from service.detect.state import WorkflowState
from service.rules.lifecycle import Signal

SPREAD: Final = 0.25
"""Share of a scope's spend that no workflow of it may exceed for what happens to be everybody's. Whatever one of
30 equal workflows does that moves the scope as a whole makes it exceed this: five times its spend is 15 %, eleven
times a quarter, and then its own alert has told long before."""


def scoped(state: WorkflowState, found: Iterable[Signal]) -> list[Signal]:
    """The signals of a scope that are worth telling besides those of its workflows.

    A trace belongs to one workflow, whose alert names it: nothing is said of single traces here. What else goes on
    is told as a ticket. It pages, as a workflow's would, only where the spend of the last five to ten minutes is
    `spread` over workflows, for then there may be none that is conspicuous by itself. More traffic is noticed under
    the same condition.
    """
    everybodys = spread(state)
    told = []
    for signal in found:
        if signal.group == "trace" or (signal.family == "volume" and not everybodys):
            continue
        told.append(
            signal if everybodys or signal.severity == "info" else replace(signal, severity="warning")
        )
    return told


def spread(state: WorkflowState) -> bool:
    """Whether no workflow makes more than `SPREAD` of what the scope spent on calls in the last minutes."""
    spent = state.shares_cost + state.older_shares_cost - state.shares_charges - state.older_shares_charges
    workflows = shares_of(state).get("workflow", {})
    most = max((cost - charged for _, cost, charged in workflows.values()), default=spent)
    return spent > 0 and most <= SPREAD * spent

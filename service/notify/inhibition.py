"""Alerts that are only another one's shadow. Pure.

An alert is inhibited while another one fires that says the same and more: a budget that is used up says that it is
spent too fast, and a workflow's incident says what its traces and customers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from schemas.alerts import Alert
from schemas.control import Inhibit, Owner, Side
from service.notify.labels import labels, matches
from service.notify.notification import RANK

DEFAULTS: Final = (
    Inhibit(
        name="budget-exhausted",
        source=Side(kinds=["budget_exhausted"], about=["budget"]),
        target=Side(kinds=["budget_pace"], about=["budget"]),
        equal=["budget"],
    ),
    Inhibit(
        name="workflow-within",
        source=Side(about=["workflow"]),
        target=Side(about=["trace", "scope"]),
        within=True,
    ),
)
_NOT_COST: Final = frozenset({"launch", "data_quality", "throttle"})
"""Kinds that say nothing about what calls cost, so that they explain no other alert's dollars."""
_MOST_OF: Final = 0.5


def in_force(records: Iterable[Inhibit]) -> tuple[Inhibit, ...]:
    """The built-in rules, each replaced by the record of its name, and all others; those that are off left out."""
    named = {rule.name: rule for rule in (*DEFAULTS, *records)}
    return tuple(rule for _, rule in sorted(named.items()) if rule.enabled)


def inhibitor(
    target: Alert, sources: Iterable[Alert], rules: Sequence[Inhibit], owners: Sequence[Owner] = ()
) -> Alert | None:
    """An alert among `sources`, all firing, that holds `target` back; None if there is none."""
    relevant = [rule for rule in rules if matches(rule.target, target)]
    if not relevant:
        return None
    for source in sources:
        if source.fingerprint != target.fingerprint and RANK[source.severity] >= RANK[target.severity]:
            for rule in relevant:
                if matches(rule.source, source) and _related(rule, source, target, owners):
                    return source
    return None


def _related(rule: Inhibit, source: Alert, target: Alert, owners: Sequence[Owner]) -> bool:
    if rule.equal:
        ours, theirs = labels(source, owners), labels(target, owners)
        # A label that neither has is not one that they have in common.
        if any(not ours[name] or ours[name] != theirs[name] for name in rule.equal):
            return False
    return not rule.within or _within(source, target)


def _within(source: Alert, target: Alert) -> bool:
    """Whether the calls of the target are calls of the source's workflow, as far as their evidence says."""
    if source.kind in _NOT_COST or target.kind in _NOT_COST or source.scope is not None:
        return False
    if target.scope is None:
        return source.workflow == target.workflow
    by_target = any(
        found.dimension == "workflow" and found.value == source.workflow and found.share >= _MOST_OF
        for found in target.evidence.top
    )
    by_source = any(
        found.dimension == target.scope.kind
        and found.value == target.scope.value
        and found.excess_share is not None
        and found.excess_share >= _MOST_OF
        for found in source.evidence.top
    )
    return by_target or by_source

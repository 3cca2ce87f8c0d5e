"""Whose doing an incident is: the labels whose share of the spend is not what it usually is."""

from __future__ import annotations

from typing import Final

from detectors.adtributor import Explanation, attribute
from service.detect.merge import shares_of
from service.detect.state import WorkflowState
from service.detect.usual_shares import DIMENSIONS
from service.rules.lifecycle import Incident

MAX_SUSPECTS: Final = 6
_LATELY_S: Final = 300.0
_PLAINEST: Final = ("customer", "api_key", "feature", "model", "provider")
"""Which to name first where several say the same: the one that people know."""


def suspects(
    state: WorkflowState, incident: Incident, usual: float, excess: int
) -> list[tuple[str, str, float, float, float]]:
    """Who makes the excess of the last five to ten minutes, at most `MAX_SUSPECTS`.

    The usual spend of these minutes is divided as it usually is. What it was in all is what is known less well:
    volume swings by itself. So it is taken as the actual spend less the excess, by rate or by the incident's own
    account, whichever is more.

    Parameters
    ----------
    usual : float
        Nano-dollars per second.
    excess : int
        Nano-dollars since the incident began.

    Returns
    -------
    list of (dimension, value, share of the excess, usual share, share)
        The most surprising dimension first. Empty where nobody in particular is to blame, or nothing is known yet.
    """
    past = state.usual_shares
    spent = state.shares_cost + state.older_shares_cost - state.shares_charges - state.older_shares_charges
    if not past.known or spent <= 0:
        return []
    begun = state.shares_since - (_LATELY_S if state.older_shares_cost else 0.0)
    seconds = max(state.now - begun, 1.0)
    lately = excess * min(seconds / max(state.now - incident.started, 1.0), 1.0)
    before = spent - min(max(spent - usual * seconds, lately), spent)
    now: dict[str, dict[str, float]] = {}
    then: dict[str, dict[str, float]] = {}
    for dimension, values in shares_of(state).items():
        if dimension in DIMENSIONS:
            costs = {v: float(cost - charge) for v, (calls, cost, charge) in values.items() if calls}
            now[dimension] = costs
            then[dimension] = {v: past.share(dimension, v) * before for v in costs}
    if before >= spent:
        return []
    found = sorted(attribute(then, now, before, spent), key=_plainest)
    told = [
        (
            e.dimension,
            s.value,
            round(s.explains, 4),
            round(past.share(e.dimension, s.value), 4),
            round(s.share, 4),
        )
        for e in found
        for s in e.suspects
    ]
    return told[:MAX_SUSPECTS]


def _plainest(found: Explanation) -> tuple[float, int]:
    return -round(found.surprise, 2), _PLAINEST.index(found.dimension)

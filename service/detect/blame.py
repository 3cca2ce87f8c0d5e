"""Whose doing an incident is: the labels whose share of the spend is not what it usually is."""

from __future__ import annotations

from typing import Final

from detectors.adtributor import LEAST, Explanation, attribute
from service.detect.state import Shares, WorkflowState
from service.detect.usual_shares import DIMENSIONS
from service.rules.lifecycle import Incident

MAX_SUSPECTS: Final = 6
_LATELY_S: Final = 300.0
_MOST: Final = 0.999
"""Share of the spend that can be excess: of nothing at all there would be no usual division to compare with."""
_AS_GOOD: Final = 0.9
"""Share of the most surprising dimension's surprise from which on another says the same."""
_PLAINEST: Final = ("workflow", "customer", "api_key", "feature", "model", "provider")
"""Which to name first where several say the same: the one that people know."""


def suspects(
    state: WorkflowState, incident: Incident, shares: Shares, usual: float, excess: int
) -> list[tuple[str, str, float, float, float]]:
    """Who makes the excess of the last five to ten minutes, at most `MAX_SUSPECTS`.

    The usual spend of these minutes is divided as it usually is. What it was in all is what is known less well:
    volume swings by itself. So it is taken as the actual spend less the excess, by rate or by the incident's own
    account, whichever is more.

    Parameters
    ----------
    shares : dict
        Spend by dimension and value over these minutes, as `shares_of` has it.
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
    more = min(max(spent - usual * seconds, lately), _MOST * spent)
    if more <= 0:
        return []
    before = spent - more
    now: dict[str, dict[str, float]] = {}
    then: dict[str, dict[str, float]] = {}
    usually: dict[tuple[str, str], float] = {}
    for dimension in DIMENSIONS:
        values = shares.get(dimension, {})
        # Whoever spent less than this in all explains too little to be named: that is nearly all of them.
        least = LEAST * more
        dear = {v: float(c - charge) for v, (calls, c, charge) in values.items() if c >= least and calls}
        usually |= {(dimension, v): past.share(dimension, v) for v in dear}
        now[dimension] = dear
        then[dimension] = {v: usually[dimension, v] * before for v in dear}
    found = attribute(then, now, before, spent)
    most = found[0].surprise if found else 0.0
    found.sort(key=lambda e: _plainness(e, most))
    told = [
        (
            e.dimension,
            s.value,
            round(s.explains, 4),
            round(usually[e.dimension, s.value], 4),
            round(s.share, 4),
        )
        for e in found
        for s in e.suspects
    ]
    return told[:MAX_SUSPECTS]


def _plainness(found: Explanation, most: float) -> tuple[bool, float, float]:
    if found.surprise < _AS_GOOD * most:
        return True, -found.surprise, 0
    return False, _PLAINEST.index(found.dimension), -found.surprise

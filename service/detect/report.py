"""An incident as an alert record: the numbers, the evidence, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Final, cast

from detectors.protocol import Contribution
from schemas.alerts import Alert, DimensionEvidence, Driver, Evidence, Factor, TraceEvidence, Verdict
from schemas.base import MAX_INT
from schemas.rollups import BUCKET_SECONDS, Dimension, scope_name
from service.detect.blame import suspects
from service.detect.judge import customers_of, explain, recent_rate, usual_rate, window_since
from service.detect.merge import shares_of
from service.detect.sentence import Account, sentence
from service.detect.state import Shares, WorkflowState
from service.detect.usual_shares import DIMENSIONS
from service.rules.lifecycle import Incident

_DAY_S: Final = 86_400
MAX_NANOS: Final = MAX_INT // 16
"""Half a billion dollars: beyond it an alert says this much, so that no sum of its numbers leaves 64 bits."""
_TOP_PER_DIMENSION: Final = 2
_OVER_USUAL: Final = 1.5


def report(state: WorkflowState, incident: Incident, config_version: str) -> Alert:
    """The present state of an incident, from the state of its workflow. Every number comes from the record.

    What is spent, usual and in excess is of calls: charges that are no calls (seats, GPU hours) are in the
    projection of the day alone, so that it compares with a budget.

    What explains the incident's dearest minutes is remembered in it, and whose doing it was when that could last be
    told: once it is over, or goes on more quietly, the last minutes no longer tell what it was.
    """
    now = max(state.now, incident.last_sent)
    window = window_since(state, incident.started, now)
    found = explain(state, window) if incident.family != "data_quality" else []
    if sum(c.share_nanos for c in found) > sum(share for _, share, _, _ in incident.drivers):
        incident.drivers = [(c.factor, _bounded(c.share_nanos), c.before, c.after) for c in found]
    cost = _bounded(max(incident_cost(state, incident), 0))
    usual = usual_rate(state, incident.started)
    expected = _bounded(round(usual * max(now - incident.started, 1.0)))
    drivers = [Contribution(*driver) for driver in incident.drivers]
    contributions = _fitted(drivers, cost - expected)
    # A launch has no detector that sums up its excess: the recent rate says that it is one, not what it cost.
    excess = max(cost - expected, 0) if incident.family == "volume" else _bounded(incident.excess_nanos)
    rate = recent_rate(state)
    shares = shares_of(state)
    if incident.status != "resolved":
        rate = max(rate, window.cost_nanos / window.seconds)
        if incident.family != "data_quality":
            incident.suspects = suspects(state, incident, shares, usual, excess) or incident.suspects
    today = state.day_cost if state.day == int(now) // _DAY_S else 0
    day = _bounded(max(today, 0) + round(rate * (_DAY_S - now % _DAY_S)))
    month = _projected_month(state, now, rate)
    crowd, usual_crowd = customers_of(state, incident.started) if incident.family == "volume" else (0.0, 0.0)
    scope = state.scope
    called = state.workflow if scope is None else scope_name(scope.kind, scope.value)
    account = Account(
        workflow=called,
        now=now,
        rate=rate,
        usual=usual,
        cost=cost,
        excess=excess,
        today=day,
        month=month,
        drivers=drivers,
        per_call=window.cost_nanos / window.calls if window.calls > 0 else 0.0,
        crowd=crowd,
        usual_crowd=usual_crowd,
    )
    evidence = _evidence(state, incident, shares)
    return Alert(
        fingerprint=incident.fingerprint,
        status=incident.status,
        severity=incident.severity,
        kind=incident.kind,
        workflow=called,
        scope=scope,
        team=state.team,
        started_at=_at(incident.started),
        fired_at=None if incident.fired is None else _at(incident.fired),
        updated_at=_at(now),
        resolved_at=None if incident.resolved is None else _at(incident.resolved),
        last_seen_at=_at(min(_last_spent(state, incident, usual), now)),
        sequence=incident.sequence,
        summary=sentence(incident, account, evidence),
        cost_nanos=cost,
        expected_nanos=expected,
        excess_nanos=excess,
        projected_nanos=day,
        projected_month_nanos=month,
        drivers=[
            Driver(factor=cast(Factor, c.factor), share_nanos=c.share_nanos, before=c.before, after=c.after)
            for c in contributions
        ],
        evidence=evidence,
        verdict=Verdict(detector=incident.detector, score=incident.score, threshold=incident.threshold),
        config_version=config_version,
        usual_calls_per_s=_usual_calls(state, usual),
        blames_traces=bool(incident.culprits),
    )


def _last_spent(state: WorkflowState, incident: Incident, usual: float) -> float:
    """When money was last spent as the incident spends it, as far back as is remembered; epoch seconds.

    Not when a detector last spoke: on its longer scales what is over is still seen for a quarter of an hour, and
    whoever throttles would take that for a throttle that does not help.
    """
    if incident.culprits:
        calls = (state.traces[c].last for c in incident.culprits if c in state.traces)
        return max(calls, default=incident.started)
    lasted = max(incident.last_seen - incident.started, float(BUCKET_SECONDS))
    if incident_cost(state, incident) <= _OVER_USUAL * usual * lasted:
        return incident.last_seen  # dearer work, and not more of it: the sum alone cannot tell when it ends
    for bucket in reversed(state.buckets):
        if bucket.cost > _OVER_USUAL * usual * BUCKET_SECONDS:
            return float(bucket.end)
    return incident.started


def _usual_calls(state: WorkflowState, usual: float) -> float | None:
    """Calls per second that a spend per second comes to, at what this workflow's calls have cost on average."""
    totals = state.totals
    if usual <= 0 or totals.call_cost <= 0:
        return None
    return round(usual * totals.calls / totals.call_cost, 6)


def incident_cost(state: WorkflowState, incident: Incident) -> int:
    """Spend on calls since the incident began: what the ring holds of it, or what was summed before it fell out."""
    return state.totals.call_cost - incident.cost_before


def _projected_month(state: WorkflowState, now: float, rate: float) -> int:
    """Spend of the UTC month at its end, if the rate stays what it is."""
    today = datetime.fromtimestamp(now, UTC)
    month = today.year * 12 + today.month - 1
    ends = datetime((month + 1) // 12, (month + 1) % 12 + 1, 1, tzinfo=UTC).timestamp()
    spent = state.month_cost if state.month == month else 0
    return _bounded(max(spent, 0) + round(rate * (ends - now)))


def _bounded(nanos: int) -> int:
    """What an alert can say: a gateway that takes micro-dollars for dollars must not stop the watch."""
    return max(-MAX_NANOS, min(nanos, MAX_NANOS))


def _fitted(contributions: Sequence[Contribution], change: int) -> list[Contribution]:
    """Shares that add up to the alert's own change: the window is bucket-aligned and short, the incident is not.

    They are scaled where the window tells the same story, with the same sign and no two large shares that cancel
    each other out; else what is left over goes to the largest share that has the change's sign.
    """
    shares = [c.share_nanos for c in contributions]
    total = sum(shares)
    if not shares or total == 0 or max(map(abs, shares)) > MAX_NANOS:
        return []
    if (total > 0) == (change > 0) and 10 * abs(total) >= sum(map(abs, shares)):
        shares = [share * change // total for share in shares]
    at = max(range(len(shares)), key=lambda i: shares[i] if change >= 0 else -shares[i])
    shares[at] += change - sum(shares)
    fitted = [
        Contribution(c.factor, s, c.before, c.after) for c, s in zip(contributions, shares, strict=True)
    ]
    return sorted(fitted, key=lambda c: (-c.share_nanos, c.factor))


def _evidence(state: WorkflowState, incident: Incident, shares: Shares) -> Evidence:
    if incident.family == "data_quality":
        return Evidence()  # its sentence names the models; who spends most has nothing to do with it
    traces = [
        TraceEvidence(
            trace_id=trace_id,
            calls=trace.calls,
            cost_nanos=_bounded(trace.cost_nanos),
            max_input_tokens=trace.max_input_tokens,
            started_at=_at(trace.started),
            customer=trace.customer,
            model=trace.model,
        )
        for trace_id, trace in ((c, state.traces[c]) for c in incident.culprits if c in state.traces)
    ]
    traces.sort(key=lambda t: (-t.cost_nanos, t.trace_id))
    return Evidence(traces=traces[:10], top=_top(state, incident, shares)[:20])


def _top(state: WorkflowState, incident: Incident, shares: Shares) -> list[DimensionEvidence]:
    """Those that explain the excess first, then the dearest of each dimension."""
    # Of all spend on calls, that without the label and that of the many small values too: a label that few calls
    # carry must not look like the whole. Who is charged for seats is not thereby to blame for calls.
    spent = state.shares_cost + state.older_shares_cost - state.shares_charges - state.older_shares_charges
    if spent <= 0:
        return []
    explain = {(dimension, value): share for dimension, value, share, _, _ in incident.suspects}
    named = [key for key in explain if shares.get(key[0], {}).get(key[1], (0,))[0]]
    for dimension, values in sorted(shares.items()):
        ranked = [(charge - cost, value) for value, (calls, cost, charge) in values.items() if calls]
        dearest = nsmallest(_TOP_PER_DIMENSION, ranked)
        named += [(dimension, value) for _, value in dearest if (dimension, value) not in explain]
    return [_slice(state, shares, key, spent, explain.get(key)) for key in named]


def _slice(
    state: WorkflowState, shares: Shares, key: tuple[str, str], spent: int, explains: float | None
) -> DimensionEvidence:
    dimension, value = key
    calls, cost, charge = shares[dimension][value]
    past = state.usual_shares
    known = past.known and dimension in DIMENSIONS
    return DimensionEvidence(
        dimension=cast(Dimension, dimension),
        value=value,
        calls=calls,
        cost_nanos=_bounded(cost - charge),
        share=round(min(max((cost - charge) / spent, 0.0), 1.0), 4),
        usual_share=round(past.share(dimension, value), 4) if known else None,
        excess_share=explains,
    )


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)

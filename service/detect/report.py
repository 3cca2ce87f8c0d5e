"""An incident as an alert record: the numbers, the evidence, and one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, cast

from detectors.protocol import Contribution
from schemas.alerts import Alert, DimensionEvidence, Driver, Evidence, Factor, TraceEvidence, Verdict
from schemas.base import MAX_INT
from schemas.money import NANOS_PER_USD, format_usd, usd
from schemas.rollups import BUCKET_SECONDS, Dimension
from service.detect.judge import customers_of, explain, recent_rate, usual_rate, window_since
from service.detect.merge import shares_of
from service.detect.state import WorkflowState
from service.rules.lifecycle import Incident

_DAY_S: Final = 86_400
MAX_NANOS: Final = MAX_INT // 16
"""Half a billion dollars: beyond it an alert says this much, so that no sum of its numbers leaves 64 bits."""
_TOP_PER_DIMENSION: Final = 2
_LAUNCH_CROWD: Final = 2.0
"""Times the usual customers, from which on it is they who make the volume."""
_DEAREST_PRICE: Final = 1_000.0
"""Times the list price. Above it the number is nano-dollars per call: there was no list price to compare with."""
_WORDS: Final = {
    "calls_per_trace": "calls per trace",
    "input_per_call": "input per call",
    "output_per_call": "output per call",
    "price": "price against list",
    "cost": "spend",
}


def report(state: WorkflowState, incident: Incident, config_version: str) -> Alert:
    """The present state of an incident, from the state of its workflow. Every number comes from the record.

    What is spent, usual and in excess is of calls: charges that are no calls (seats, GPU hours) are in the
    projection of the day alone, so that it compares with a budget.

    What explains the incident's dearest minutes is remembered in it: once it is over, or goes on more quietly,
    the last minutes no longer tell what it was.
    """
    now = max(state.now, incident.last_sent)
    window = window_since(state, incident.started, now)
    found = explain(state, window) if incident.family != "data_quality" else []
    if sum(c.share_nanos for c in found) > sum(share for _, share, _, _ in incident.drivers):
        incident.drivers = [(c.factor, _bounded(c.share_nanos), c.before, c.after) for c in found]
    cost = _bounded(max(incident_cost(state, incident), 0))
    usual = usual_rate(state, incident.started)
    expected = _bounded(round(usual * max(now - incident.started, 1.0)))
    contributions = _fitted([Contribution(*driver) for driver in incident.drivers], cost - expected)
    # A launch has no detector that sums up its excess: the recent rate says that it is one, not what it cost.
    excess = max(cost - expected, 0) if incident.family == "volume" else _bounded(incident.excess_nanos)
    rate = recent_rate(state)
    if incident.status != "resolved":
        rate = max(rate, window.cost_nanos / window.seconds)
    today = state.day_cost if state.day == int(now) // _DAY_S else 0
    evidence = _evidence(state, incident)
    return Alert(
        fingerprint=incident.fingerprint,
        status=incident.status,
        severity=incident.severity,
        kind=incident.kind,
        workflow=state.workflow,
        team=state.team,
        started_at=_at(incident.started),
        fired_at=None if incident.fired is None else _at(incident.fired),
        updated_at=_at(now),
        resolved_at=None if incident.resolved is None else _at(incident.resolved),
        sequence=incident.sequence,
        summary=_sentence(state, incident, contributions, evidence, rate, usual, cost, excess),
        cost_nanos=cost,
        expected_nanos=expected,
        excess_nanos=excess,
        projected_nanos=_bounded(max(today, 0) + round(rate * (_DAY_S - now % _DAY_S))),
        drivers=[
            Driver(factor=cast(Factor, c.factor), share_nanos=c.share_nanos, before=c.before, after=c.after)
            for c in contributions
        ],
        evidence=evidence,
        verdict=Verdict(detector=incident.detector, score=incident.score, threshold=incident.threshold),
        config_version=config_version,
        throttle=incident.throttle,
    )


def incident_cost(state: WorkflowState, incident: Incident) -> int:
    """Spend on calls since the incident began: what the ring holds of it, or what was summed before it fell out."""
    return state.totals.call_cost - incident.cost_before


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


def _evidence(state: WorkflowState, incident: Incident) -> Evidence:
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
    top = []
    # Of all spend on calls, that without the label and that of the many small values too: a label that few calls
    # carry must not look like the whole. Who is charged for seats is not thereby to blame for calls.
    charged = state.shares_charges + state.older_shares_charges
    spent = state.shares_cost + state.older_shares_cost - charged
    for dimension, values in sorted(shares_of(state).items()):
        found = [(value, calls, cost - charge) for value, (calls, cost, charge) in values.items() if calls]
        ranked = sorted(found, key=lambda item: (-item[2], item[0]))[:_TOP_PER_DIMENSION]
        top += [
            DimensionEvidence(
                dimension=cast(Dimension, dimension),
                value=value,
                calls=calls,
                cost_nanos=_bounded(cost),
                share=round(min(max(cost / spent, 0.0), 1.0), 4),
            )
            for value, calls, cost in ranked
            if spent > 0
        ]
    return Evidence(traces=traces[:10], top=top[:20])


def _sentence(
    state: WorkflowState,
    incident: Incident,
    contributions: Sequence[Contribution],
    evidence: Evidence,
    rate: float,
    usual: float,
    cost: int,
    excess: int,
) -> str:
    since = _at(incident.started).strftime("%H:%M")
    if incident.family == "data_quality":
        if incident.status == "resolved":
            last = _at(incident.last_seen).strftime("%H:%M")
            return f"{state.workflow}: not seen since {last}, and so taken as over: {incident.note}"
        return f"{state.workflow}, since {since}: {incident.note}"
    if incident.status == "resolved":
        return (
            f"{state.workflow}: {incident.kind.replace('_', ' ')} since {since} is over;"
            f" it spent {format_usd(cost)}, {format_usd(excess)} more than usual."
        )
    parts = [f"{state.workflow} is spending {_per_hour(rate)}"]
    if usual >= 1.0:
        parts.append(f", {_times(rate / usual)} its usual {_per_hour(usual)}")
    if evidence.traces:
        worst = evidence.traces[0]
        n = len(evidence.traces)
        whose = f" of customer {worst.customer}" if worst.customer else ""
        parts.append(
            f": {n} trace{'s' if n > 1 else ''}{whose} since {since},"
            f" {worst.trace_id} alone made {worst.calls} calls for {format_usd(worst.cost_nanos)}"
        )
    elif contributions:
        parts.append(f": {_change(contributions[0])} since {since}")
    else:
        parts.append(f" since {since}")
    if incident.family == "volume":
        parts.append(f"; unit cost is as usual{_crowd(state, incident)}")
    else:
        parts.append(f"; {format_usd(excess)} over so far")
    return "".join(parts) + "."


def _crowd(state: WorkflowState, incident: Incident) -> str:
    """A launch brings customers; the same few who do much more are something else."""
    now, usual = customers_of(state, incident.started)
    if now <= 0 or usual <= 0:
        return ", so this looks like a launch"
    counts = f"customers per {BUCKET_SECONDS} s went from {_number(usual)} to {_number(now)}"
    if now >= _LAUNCH_CROWD * usual:
        return f" and {counts}, so this looks like a launch"
    return f", but {counts}: the same ones do more"


def _change(main: Contribution) -> str:
    words, before, after = _WORDS.get(main.factor, main.factor), main.before, main.after
    if main.factor == "traces":  # of windows of some minutes: the ratio tells, not the counts
        return f"{_times(after / before)} the traces" if before > 0 else "traces where there were none"
    per_call = main.factor == "price" and max(before, after) > _DEAREST_PRICE
    if per_call:
        words = "price per call"
    if per_call or main.factor in ("input_per_call", "output_per_call"):
        return f"{words} went from {format_usd(round(before))} to {format_usd(round(after))}"
    return f"{words} went from {_number(before)} to {_number(after)}"


def _per_hour(rate: float) -> str:
    hourly = round(rate * 3_600)
    dollars = f"${round(usd(hourly)):,}" if hourly >= 10 * NANOS_PER_USD else format_usd(hourly)
    return f"{dollars}/h"


def _times(ratio: float) -> str:
    if ratio >= 1_000:
        return "more than 1,000×"
    return f"{ratio:.0f}×" if round(ratio, 1) >= 5 else f"{ratio:.1f}×"


def _number(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)

"""What the detectors say of a bucket, put into the words of the contract: signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from detectors.concentration import Concentration, ConcentrationParams
from detectors.expected_spend import ExpectedSpend, ExpectedSpendParams
from detectors.live_trace import LiveTrace, LiveTraceParams
from detectors.protocol import Contribution, Score, Window
from detectors.unit_cost import UnitCost, UnitCostParams
from schemas.alerts import Kind
from schemas.money import nanos
from schemas.rollups import BUCKET_SECONDS, Rollup
from service.detect.answered import worth_it
from service.detect.bucket import Bucket
from service.detect.state import WorkflowState
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import Signal

_KIND_OF_FACTOR: Final[dict[str, Kind]] = {
    "calls_per_trace": "retry_loop",
    "input_per_call": "context_growth",
    "output_per_call": "output_growth",
    "model_mix": "dearer_calls",
    "price": "dearer_calls",
    "cache": "cache_collapse",
}
_CREEPING: Final = ("input_per_call", "output_per_call", "cost_per_trace")
_CREEP_S: Final = 16_200.0
"""What took this long until it was seen came slowly."""
_RECENT_S: Final = 180.0
_LIVE_SHARE_OF_BUDGET: Final = 0.25
_NEWCOMER_SHARE_OF_MINUTES: Final = 0.5
_LIVE_SHARE_OF_MINUTES: Final = 0.7
"""Shares of the minutes of usual spend that a change of the whole workflow needs."""
_KNOWN_WINDOWS: Final = 60.0
_CALM: Final = 0.6
"""A launch is called one only while unit cost stays below this share of its own threshold."""
WAKE_S: Final = 2_400.0
"""How long what was kept up of late still holds the volume of an announced launch that has ended."""
_OVER: Final = 0.5
"""A change of unit cost is over when it is below this share of its threshold."""
_NOT_ASKED: Final = Score(0.0, 1.0, ready=False)


def tune(state: WorkflowState, config: WorkflowConfig) -> None:
    """Give the detectors the tunables that hold now; what they learnt stays."""
    if state.tuned_by is config:
        return
    state.tuned_by = config
    floor = nanos(config.min_excess_usd)
    minutes = config.min_excess_minutes * 60.0
    _unit(state).params = UnitCostParams(config.page_budget, floor, minutes)
    _live(state).params = LiveTraceParams(
        config.page_budget * _LIVE_SHARE_OF_BUDGET,
        config.trace_quantile,
        nanos(config.trace_min_usd),
        floor,
        minutes * _LIVE_SHARE_OF_MINUTES,
    )
    _expected(state).params = ExpectedSpendParams(config.launch_multiple, floor)
    _newcomers(state).params = ConcentrationParams(
        min_excess_nanos=floor, min_excess_seconds=minutes * _NEWCOMER_SHARE_OF_MINUTES
    )


def window_of(state: WorkflowState, bucket: Bucket, *, finished: bool = False) -> Window:
    """A bucket as the detectors see it."""
    start = bucket.start
    live = [trace for trace in state.traces.values() if trace.last >= start]
    return Window(
        start=float(bucket.start),
        seconds=float(BUCKET_SECONDS),
        calls=bucket.calls,
        cost_nanos=bucket.cost,
        traces=bucket.traces,
        input_tokens=bucket.input_tokens,
        cached_input_tokens=bucket.cached_tokens,
        output_tokens=bucket.output_tokens,
        reference_nanos=bucket.reference,
        reference_output_nanos=bucket.reference_output,
        errors=bucket.errors,
        live=live,
        finished=state.ended if finished else (),
        usual_nanos_per_s=_expected(state).rate(float(bucket.start)),
        customers=bucket.customers_named(),
        api_keys=bucket.api_keys_named(),
        begun=bucket.begun,
    )


def window_since(state: WorkflowState, since: float, until: float) -> Window:
    """Everything from one instant to another as one window, or as much of that as the ring still holds."""
    start = float(int(since) // BUCKET_SECONDS * BUCKET_SECONDS)
    if state.buckets:
        start = max(start, float(state.buckets[0].start))
    held = [b for b in state.buckets if b.start >= start]
    return Window(
        start=start,
        seconds=max(until - start, float(BUCKET_SECONDS)),
        calls=sum(b.calls for b in held),
        cost_nanos=sum(b.cost for b in held),
        traces=sum(b.traces for b in held),
        input_tokens=sum(b.input_tokens for b in held),
        cached_input_tokens=sum(b.cached_tokens for b in held),
        output_tokens=sum(b.output_tokens for b in held),
        reference_nanos=sum(b.reference for b in held),
        reference_output_nanos=sum(b.reference_output for b in held),
        errors=sum(b.errors for b in held),
        begun=sum(b.begun for b in held),
        usual_nanos_per_s=_expected(state).rate(start),
    )


def signals(state: WorkflowState, window: Window, config: WorkflowConfig) -> tuple[list[Signal], bool, bool]:
    """What is going on in a window: at most one signal per family, the surer first in its family.

    Returns
    -------
    (list of Signal, bool, bool)
        And whether unit cost was looked at and is as usual; and whether the usual is known.
    """
    if not config.enabled:
        return [], True, True
    live, newcomer, volume = (
        _live(state).score(window),
        _newcomers(state).score(window),
        _expected(state).score(window),
    )
    # The dearest to ask is asked where its answer can matter, which is seldom.
    ratios = _unit(state)
    asked = "cost" in state.incidents or state.launch is not None or volume.speaks or ratios.may_speak(window)
    unit = ratios.score(window) if asked else _NOT_ASKED
    found: list[Signal] = []
    if live.speaks:
        found += worth_it(_live_signal(state, window, live), live, config, state.now)
    if not found and newcomer.speaks and not _expects_a_crowd(state):
        found += worth_it(_newcomer_signal(window, newcomer), newcomer, config, state.now)
    if not found and unit.speaks:
        found += worth_it(_unit_signal(state, window, unit), unit, config, state.now)
    calm = unit.value < _CALM * unit.threshold and "cost" not in state.incidents
    if volume.speaks and calm and not found and not _was_announced(state, window):
        found += worth_it(_volume_signal(window, volume), volume, config, state.now)
    as_usual = not found and window.calls > 0 and unit.ready and unit.value < _OVER * unit.threshold
    return found, as_usual, ratios.ready


def customers_of(state: WorkflowState, since: float) -> tuple[float, float]:
    """Distinct customers per bucket since an instant, and how many there usually are; 0 where nothing is known."""
    usual = state.crowd.mean if state.crowd.windows >= _KNOWN_WINDOWS else 0.0
    held = [b.customers for b in state.buckets if b.end > since and b.calls]
    return (sum(held) / len(held) if held else 0.0), usual


def late_signals(state: WorkflowState, rollup: Rollup, config: WorkflowConfig) -> list[Signal]:
    """What is going on in the traces of a rollup whose bucket was judged without it: their dollars are real."""
    if not config.enabled or not rollup.live_traces:
        return []
    start = rollup.bucket_start.timestamp()
    live = [state.traces[t.trace_id] for t in rollup.live_traces if t.trace_id in state.traces]
    usual = _expected(state).rate(start)
    window = Window(start, float(BUCKET_SECONDS), 0, 0, 0.0, live=live, usual_nanos_per_s=usual)
    score = _live(state).score(window)
    return worth_it(_live_signal(state, window, score), score, config, state.now) if score.speaks else []


def explain(state: WorkflowState, window: Window) -> Sequence[Contribution]:
    """Why a window's spend differs from the usual: by factor where enough is known, else by volume."""
    return _unit(state).explain(window) or _expected(state).explain(window)


def usual_rate(state: WorkflowState, at: float) -> float:
    """Nano-dollars per second that are usual at this time of day."""
    return _expected(state).rate(at)


def busy_rate(state: WorkflowState) -> float:
    """Nano-dollars per second that were kept up for twenty minutes at most on the days before."""
    return _expected(state).busy_rate()


def recent_rate(state: WorkflowState) -> float:
    """Nano-dollars per second over the last minutes."""
    return _expected(state).recent_rate()


def _was_announced(state: WorkflowState, window: Window) -> bool:
    """Whether it is an announced launch, or what was one until lately, that makes the volume."""
    return state.launch is not None or window.start < state.launched_until + WAKE_S


def _expects_a_crowd(state: WorkflowState) -> bool:
    """Whether new customers and keys were announced, and it stays within the dollars it was announced with."""
    running = state.launch
    return running is not None and running.within(state.totals.call_cost - running.cost_before)


def _live_signal(state: WorkflowState, window: Window, score: Score) -> Signal:
    started = min((state.traces[c].started for c in score.culprits), default=window.start)
    return Signal(
        family="cost",
        kind="retry_loop" if score.factor == "calls_per_trace" else "runaway_trace",
        severity="critical",
        detector=LiveTrace.name,
        score=score.value,
        threshold=score.threshold,
        started=started,
        excess_nanos=score.excess_nanos,
        culprits=score.culprits,
        group="trace",
    )


def _volume_signal(window: Window, score: Score) -> Signal:
    return Signal(
        family="volume",
        kind="launch",
        severity="info",
        detector=ExpectedSpend.name,
        score=score.value,
        threshold=score.threshold,
        started=window.start,
        excess_nanos=score.excess_nanos,
        group="launch",
    )


def _newcomer_signal(window: Window, score: Score) -> Signal:
    kind: Kind = "new_api_key" if score.factor == "new_api_key" else "new_customer"
    what = "key" if kind == "new_api_key" else "customer"
    return Signal(
        family="cost",
        kind=kind,
        severity="critical",
        detector=Concentration.name,
        score=score.value,
        threshold=score.threshold,
        started=window.start if score.since is None else score.since,
        excess_nanos=score.excess_nanos,
        note=f"most of it is spent by {what} {score.culprits[0]}, new since today" if score.culprits else "",
        group="newcomer",
    )


def _unit_signal(state: WorkflowState, window: Window, score: Score) -> Signal:
    started = window.start if score.since is None else score.since
    kind = _KIND_OF_FACTOR.get(score.factor, "cost_per_trace")
    if score.factor in _CREEPING and window.end - started >= _CREEP_S:
        kind = "creep"
    elif kind == "cost_per_trace":
        # No single ratio stands out: the one that moved most of the money gives the name, if it did.
        recent = window_since(state, window.end - _RECENT_S, window.end)
        drivers = [c for c in _unit(state).explain(recent) if c.factor in _KIND_OF_FACTOR]
        if drivers and drivers[0].share_nanos > 0:
            kind = _KIND_OF_FACTOR[drivers[0].factor]
    return Signal(
        family="cost",
        kind=kind,
        severity="critical",
        detector=UnitCost.name,
        score=score.value,
        threshold=score.threshold,
        started=started,
        excess_nanos=score.excess_nanos,
        group=score.factor,
    )


def _unit(state: WorkflowState) -> UnitCost:
    return cast(UnitCost, state.detectors[UnitCost.name])


def _live(state: WorkflowState) -> LiveTrace:
    return cast(LiveTrace, state.detectors[LiveTrace.name])


def _newcomers(state: WorkflowState) -> Concentration:
    return cast(Concentration, state.detectors[Concentration.name])


def _expected(state: WorkflowState) -> ExpectedSpend:
    return cast(ExpectedSpend, state.detectors[ExpectedSpend.name])

"""A gateway that published and stops: its calls go on being paid for, and nobody counts them."""

from __future__ import annotations

from typing import Final, cast

from detectors.protocol import Window
from detectors.silence import Silence, SilenceParams
from schemas.money import format_usd
from schemas.rollups import BUCKET_SECONDS
from service.detect.state import WorkflowState
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import Signal

GONE_S: Final = 3 * 86_400.0
"""Silent for so long, it was told and is taken as gone: a ticket is not repeated for ever."""


def silence_signal(state: WorkflowState, config: WorkflowConfig) -> Signal | None:
    """A signal if this is a gateway that should have said something by `state.now`; to be asked as time passes.

    What it cost is not asked for: calls without a price are no less worth counting.
    """
    silence = _tuned(state, config)
    if silence is None or not _watched(config) or any(b.calls and not b.closed for b in state.buckets):
        return None
    score = silence.score(Window(state.now - BUCKET_SECONDS, float(BUCKET_SECONDS), 0, 0, 0.0))
    alarm = silence.alarm()
    if not score.speaks or score.since is None or alarm is None or _is_gone(silence, state.now):
        return None
    return Signal(
        family="data_quality",
        kind="data_quality",
        severity="warning",
        detector="data_quality.silence",
        score=round(score.value, 1),
        threshold=round(score.threshold, 1),
        started=score.since,
        excess_nanos=0,
        note=(
            f"no call for {_span(state.now - score.since)}, where more than {_span(alarm - score.since)} is"
            f" unusual at this time of day; about {format_usd(score.usual_nanos)} is usually spent in such a time."
            " Check that it runs, and that what it publishes arrives."
        ),
    )


def silence_due(state: WorkflowState, config: WorkflowConfig) -> float | None:
    """When time alone would make it speak, epoch seconds; None while nothing waits for that."""
    silence = _tuned(state, config)
    if silence is None or not _watched(config) or "data_quality" in state.incidents:
        return None
    alarm = silence.alarm()
    # What was told and taken as gone must not ring at every tick.
    return None if alarm is None or _is_gone(silence, state.now) else alarm


def _tuned(state: WorkflowState, config: WorkflowConfig) -> Silence | None:
    silence = cast("Silence | None", state.detectors.get(Silence.name))
    if silence is not None and (silence.params.ticket_budget, silence.params.min_excess_nanos) != (
        config.page_budget,
        1,
    ):
        silence.params = SilenceParams(config.page_budget, min_excess_nanos=1)
    return silence


def _is_gone(silence: Silence, now: float) -> bool:
    return silence.since is not None and now - silence.since > GONE_S


def _watched(config: WorkflowConfig) -> bool:
    return config.enabled and config.data_quality_share > 0


def _span(seconds: float) -> str:
    minutes = seconds / 60.0
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60.0:.1f} h"

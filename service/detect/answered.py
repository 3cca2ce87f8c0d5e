"""What people said of alerts, put into effect: what is told, what wakes somebody, what is learnt."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, cast

from detectors.expected_spend import ExpectedSpend
from detectors.protocol import Detector, Score, Window
from detectors.ratios import FACTORS
from detectors.unit_cost import UnitCost
from service.detect.bucket import Bucket
from service.detect.state import WorkflowState
from service.rules.answers import Learning, is_meant, is_usual_now, learning, meaning, times
from service.rules.config import WorkflowConfig
from service.rules.lifecycle import OTHER_S, Incident, Signal

_LESS: Final[tuple[Learning, ...]] = ("all", "spread", "nothing")


def worth_it(signal: Signal, score: Score, config: WorkflowConfig, now: float) -> list[Signal]:
    """The signal, if it is dear enough for what people said of its kind."""
    if config.answers and score.excess_nanos < score.gate_nanos * times(config.answers, signal.kind, now):
        return []
    return [signal]


def learnt(state: WorkflowState, bucket: Bucket, config: WorkflowConfig) -> Learning:
    """How much is learnt from a bucket, as far as incidents go."""
    least: Learning = "all" if bucket.costed else "spread"
    for incident in state.incidents.values():
        least = max(least, learning(config.answers, incident, state.now), key=_LESS.index)
    return least


def teach(detector: Detector, window: Window, learning: Learning) -> None:
    """Give a detector a window that is closed, to learn from as far as that goes."""
    if isinstance(detector, UnitCost):
        detector.learn(window, frozen=learning != "all", aside=learning == "nothing")
    else:
        detector.learn(window, frozen=learning != "all")


def is_usual(state: WorkflowState, config: WorkflowConfig) -> bool:
    """Whether the ratios as they are now are the usual, because somebody said so of the incident that goes on."""
    return any(
        incident.group in FACTORS and is_usual_now(config.answers, incident, state.now)
        for incident in state.incidents.values()
    )


def accept(state: WorkflowState) -> None:
    """Take the ratios as they are now for the usual, and what they cost at the usual volume for the usual spend."""
    risen = cast(UnitCost, state.detectors[UnitCost.name]).accept()
    cast(ExpectedSpend, state.detectors[ExpectedSpend.name]).rescale(math.exp(risen))


def hushed(signal: Signal, before: Incident | None, config: WorkflowConfig, now: float) -> Signal:
    """The signal; a ticket where it would be a page and is no more than what was said of its kind.

    Parameters
    ----------
    before : Incident or None
        The one of its family that goes on: what is of it began with it.
    """
    if signal.severity != "critical" or not config.answers:
        return signal
    of_it = before is not None and before.status == "firing" and before.kind == signal.kind
    answer = meaning(config.answers, before if before is not None and of_it else signal, now)
    return replace(signal, severity="warning") if answer is not None and is_meant(answer, signal) else signal


def ends_as_meant(incident: Incident, signal: Signal, config: WorkflowConfig, now: float) -> bool:
    """Whether a page ends because it is about what was planned: it goes on as a ticket.

    Only one that was told before the word: what pages in spite of it pages on, however it wavers.
    """
    if signal.severity != "warning" or incident.severity != "critical" or incident.kind != signal.kind:
        return False
    answer = meaning(config.answers, incident, now) if config.answers else None
    return (
        answer is not None
        and answer.worth == "planned"
        and is_meant(answer, signal)
        and incident.status == "firing"
        and (incident.fired or incident.started) <= answer.at.timestamp()
    )


def is_of(incident: Incident, signal: Signal, config: WorkflowConfig, now: float) -> bool:
    """Whether a signal of something else is of the incident all the same, for it began with it.

    Nothing is learnt while one goes on that was `real` or `planned`, not how far ratios stray either: when it ends,
    the scale of hours of a ratio that it dragged along is the last to see that.
    """
    answer = meaning(config.answers, incident, now) if config.answers else None
    return (
        answer is not None
        and answer.worth in ("real", "planned")
        and signal.started <= incident.started + OTHER_S
    )


def goes_beyond(incident: Incident, signal: Signal, config: WorkflowConfig, now: float) -> bool:
    """Whether a ticket has just become more than what was said of its kind: then it pages after all."""
    if incident.severity != "warning" or signal.severity != "critical" or incident.status != "firing":
        return False
    answer = meaning(config.answers, incident, now) if config.answers else None
    return answer is not None and is_meant(answer, incident) and not is_meant(answer, signal)

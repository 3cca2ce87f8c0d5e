"""The life of an incident: pending, firing, resolved, with hold times; a pure function of signals and time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from schemas.alerts import Kind, Severity
from service.rules.config import WorkflowConfig

Family = Literal["cost", "volume", "launch", "cap", "data_quality"]
"""At most one incident per family and workflow: two detectors that see one cause raise one alert."""
Transition = Literal["fired", "repeated", "resolved"]

FORGET_PENDING_S: Final = 60.0
QUIET_S: Final = 7_200.0
"""How long an incident that calls must refute outlives a silence: those that do not come say nothing."""
LULL_S: Final = 1_800.0
"""How long volume may pause until a launch is over: what comes in bursts is not one launch after another."""
ACCEPT_AFTER_S: Final = 86_400.0
"""An incident this old stops holding the baseline back: what lasts is learnt as the new normal."""
MAX_CULPRITS: Final = 16
_AGAIN_S: Final = 21_600.0
"""What comes back so soon is the same: it is told as a ticket, and pages only when it is louder."""
LOUDER: Final = 1.5
KNOWN_S: Final = 604_800.0
MAX_HEARD: Final = 32
_SETTLED_S: Final = 1_200.0
_OUTGROWN: Final = 3.0
"""Times as loud as in its first twenty minutes, volume is not what was told of: a launch in the wake of a burst."""
OTHER_S: Final = 5_400.0
"""What else an incident moves shows by then; what begins later is an incident of its own."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One detector's opinion that something is going on now.

    Attributes
    ----------
    started : float
        Epoch seconds of event time at which the behaviour began, as far as the detector can tell.
    excess_nanos : int
        Dollars over the usual, so far.
    note : str
        What an alert's sentence cannot take from the state any more once it is over.
    group : str
        What it is about: what was told of once is not news when it comes back soon.
    """

    family: Family
    kind: Kind
    severity: Severity
    detector: str
    score: float
    threshold: float
    started: float
    excess_nanos: int
    culprits: tuple[str, ...] = ()
    note: str = ""
    group: str = ""


class Heard(msgspec.Struct, array_like=True):
    """When a group of signals was last heard (epoch seconds), and how loud at most since it became news."""

    last: float
    loudest: float

    def news(self, signal: Signal, now: float) -> bool:
        return now > self.last + _AGAIN_S or signal.score > LOUDER * self.loudest


def hear(heard: dict[str, Heard], signal: Signal, now: float) -> bool:
    """Remember a signal. Returns whether it is news. Holds as many entries as there are groups, 32 at most."""
    before = heard.get(signal.group)
    news = before is None or before.news(signal, now)
    if before is None or now > before.last + _AGAIN_S:
        heard[signal.group] = Heard(now, signal.score)
        if len(heard) > MAX_HEARD:
            del heard[min(heard, key=lambda group: (heard[group].last, group))]
    else:
        before.last, before.loudest = max(now, before.last), max(signal.score, before.loudest)
    return news


def is_known(signal: Signal, heard: dict[str, Heard], now: float) -> bool:
    """Whether a doubt about data was told of within a week and is not much louder now.

    A price that is wrong stays wrong until somebody mends it; with bursty traffic it would be told every morning.
    """
    told = heard.get(signal.group) if signal.group else None
    return (
        signal.family == "data_quality"
        and told is not None
        and now <= told.last + KNOWN_S
        and signal.score <= LOUDER * told.loudest
    )


def is_another(incident: Incident, signal: Signal, heard: dict[str, Heard], now: float) -> bool:
    """Whether a signal is of another incident than the one that is firing: of something else, and much later.

    Volume that is announced is another than volume that is not.
    """
    before = heard.get(signal.group)
    if incident.status != "firing" or signal.group == incident.group or incident.family == "data_quality":
        return False
    return incident.family == "volume" or (
        now > (incident.fired or incident.started) + OTHER_S
        and (before is None or (now > before.last + OTHER_S and before.news(signal, now)))
    )


def is_worse(incident: Incident, signal: Signal, heard: dict[str, Heard], now: float) -> bool:
    """Whether what came back as a ticket is by now much louder than all that was told of it: it pages after all."""
    before = heard.get(signal.group)
    return (
        incident.status == "firing"
        and incident.severity == "warning"
        and signal.severity == "critical"
        and signal.group == incident.group
        and before is not None
        and before.news(signal, now)
    )


def has_outgrown(incident: Incident, signal: Signal, now: float) -> bool:
    """Whether volume is by now so much more than what was told of that it is told anew."""
    return (
        incident.family == "volume"
        and incident.status == "firing"
        and signal.group == incident.group
        and now >= (incident.fired or incident.started) + _SETTLED_S
        and signal.score >= _OUTGROWN * max(incident.loud, signal.threshold)
    )


class Incident(msgspec.Struct, array_like=True):
    """What is remembered of one incident. Times are epoch seconds of event time."""

    family: Family
    kind: Kind
    severity: Severity
    fingerprint: str
    status: Literal["pending", "firing", "resolved"]
    started: float
    pending_since: float
    last_seen: float
    detector: str
    score: float
    threshold: float
    excess_nanos: int
    culprits: list[str] = []
    fired: float | None = None
    resolved: float | None = None
    last_sent: float = 0.0
    sequence: int = 0
    reserved: str | None = None
    """Its place in what earlier versions wrote."""
    cost_before: int = 0
    """The workflow's total spend when the incident began: what it spent since is an exact difference."""
    drivers: list[tuple[str, int, float, float]] = []
    """Factor, share in nano-dollars, before, after: of its dearest minutes so far, which explain it best."""
    note: str = ""
    suspects: list[tuple[str, str, float, float, float]] = []
    """Dimension, value, share of the excess, usual share, share: whose doing it was when it could last be told."""
    group: str = ""
    loud: float = 0.0
    """Highest score in its first twenty minutes."""

    @property
    def masks(self) -> bool:
        """Whether it is about what calls are like, and so about what is learnt from them."""
        return self.family != "data_quality"

    def holds_baseline(self, now: float) -> bool:
        """Whether learning stands still: what happens now must not become the usual."""
        return self.masks and now - self.started < ACCEPT_AFTER_S

    def due(self, config: WorkflowConfig) -> float:
        """When time alone next changes this incident."""
        if self.status == "pending":
            return _forgotten(self, config)
        return min(self.last_seen + _hold(self, config), self.last_sent + config.repeat_s)


def fingerprint(workflow: str, kind: str, started: float) -> str:
    """Hash of workflow, kind and start: the same incident has the same one on every worker and in every replay."""
    return hashlib.blake2b(f"{workflow}\0{kind}\0{started:.3f}".encode(), digest_size=8).hexdigest()


def advance(
    incident: Incident | None,
    signal: Signal | None,
    workflow: str,
    now: float,
    config: WorkflowConfig,
    *,
    refuted: bool = False,
) -> tuple[Incident | None, Transition | None]:
    """One step of an incident's life.

    Parameters
    ----------
    incident : Incident or None
        Changed in place.
    signal : Signal or None
        What a detector says now; None when it says nothing.
    now : float
        Event time. Never goes back.
    refuted : bool
        Not only does no signal come: what was told of was looked at and is not so any more. An incident of data
        quality or of a ratio waits for this, or for a long silence.

    Returns
    -------
    (Incident or None, Transition or None)
        None when there is nothing (more) to remember; a resolved incident is returned once, with "resolved".
    """
    if incident is not None and incident.status == "pending" and now >= _forgotten(incident, config):
        incident = None  # also when a signal comes just now: a hold does not span a silence nobody looked at
    if signal is not None:
        if incident is None:
            incident = _open(signal, workflow, now)
        else:
            _update(incident, signal, now)
    if incident is None:
        return None, None
    if incident.status == "pending":
        if signal is not None and now >= incident.pending_since + config.pending_s:
            incident.status = "firing"
            incident.fired = now
            return incident, _sent(incident, now, "fired")
        return incident, None
    hold = config.resolve_s if refuted else _hold(incident, config)
    if signal is None and now >= incident.last_seen + hold:
        incident.status = "resolved"
        incident.resolved = now
        return incident, _sent(incident, now, "resolved")
    if now >= incident.last_sent + config.repeat_s:
        return incident, _sent(incident, now, "repeated")
    return incident, None


def _forgotten(incident: Incident, config: WorkflowConfig) -> float:
    return incident.last_seen + max(config.pending_s, FORGET_PENDING_S)


def _hold(incident: Incident, config: WorkflowConfig) -> float:
    """How long it must be gone before it resolves, unless it was looked at and is not so any more."""
    if incident.family == "data_quality":
        watched = config.enabled and config.data_quality_share > 0
    elif incident.family == "volume":
        return max(config.resolve_s, LULL_S)
    else:
        # A ratio that no call shows any more has not become usual; a trace that ended is over.
        watched = incident.family == "cost" and incident.group not in ("", "trace")
    return max(config.resolve_s, QUIET_S) if watched else config.resolve_s


def _open(signal: Signal, workflow: str, now: float) -> Incident:
    return Incident(
        family=signal.family,
        kind=signal.kind,
        severity=signal.severity,
        fingerprint=fingerprint(workflow, signal.kind, signal.started),
        status="pending",
        started=signal.started,
        pending_since=now,
        last_seen=now,
        detector=signal.detector,
        score=signal.score,
        threshold=signal.threshold,
        excess_nanos=signal.excess_nanos,
        culprits=list(signal.culprits[:MAX_CULPRITS]),
        note=signal.note,
        group=signal.group,
        loud=signal.score,
    )


def _update(incident: Incident, signal: Signal, now: float) -> None:
    incident.last_seen = max(incident.last_seen, now)
    incident.excess_nanos = max(incident.excess_nanos, signal.excess_nanos)
    incident.note = signal.note or incident.note
    if now < (incident.fired or incident.started) + _SETTLED_S:
        incident.loud = max(incident.loud, signal.score)
    if signal.score > incident.score:
        incident.detector, incident.score, incident.threshold = (
            signal.detector,
            signal.score,
            signal.threshold,
        )
    for culprit in signal.culprits:
        if culprit not in incident.culprits and len(incident.culprits) < MAX_CULPRITS:
            incident.culprits.append(culprit)


def _sent(incident: Incident, now: float, transition: Transition) -> Transition:
    incident.last_sent = now
    incident.sequence += 1
    return transition

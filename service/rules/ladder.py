"""One scope's way up and down a rule's ladder: slow, downgrade, cap, block, and back by even steps of rate.

Up: the gentlest rung first; the next one when the incident went on for the rung's `hold_s`.
Down: when it was quiet for `clear_s`, at once to a low rate and then up to the usual one in equal steps. If the
incident comes back meanwhile, back to the rung that had stopped it, and the next time quiet must last twice as
long: that is what keeps a throttle that hides its own cause from flapping.
No throttle lasts longer than `max_s`: then it is released, and not taken again before the incident was over.

`service.rules.throttling` keeps the scopes of all rules and is what a stage calls.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from schemas.control import Ladder, Rule, RuleAction
from schemas.throttles import Block, Cap, Downgrade, Release, Scope, ScopeKind, Slow, ThrottleCommand

Phase = Literal["waiting", "barred", "held", "releasing", "rested", "released"]
"""waiting = for a person's yes; barred = not throttled, though a rule wants it; held and releasing = a command is
in force; rested = released at its longest, while the incident goes on; released = over, remembered for a while."""
Why = Literal["", "protected", "limit", "refused", "lapsed", "longest"]
Change = Literal["stronger", "releasing", "faster", "back", "released", "rested"]

DEFAULT: Final = Ladder()
MOST_DOUBLINGS: Final = 6
"""Quiet that is asked for is doubled so often at most: from two minutes to two hours."""
RENEW_BEFORE_S: Final = 60.0


class Climb(msgspec.Struct, array_like=True):
    """What is remembered of one scope. Times are epoch seconds of event time.

    Attributes
    ----------
    since : float
        When it was throttled, or first wanted to be.
    moved : float
        When the phase, rung or step last changed.
    seen : float
        When the incident was last seen.
    rung : int
        The rung it is on, or was released from.
    step : int
        Steps of rate taken on the way back.
    usual_rps : float or None
        Calls per second that the scope usually makes: the rate that release ends at.
    spared : int
        Nano-dollars that would not have been spent if a dry run had been none, as far as that can be told.
    """

    kind: ScopeKind
    value: str
    workflow: str | None
    rule: str
    fingerprint: str
    reason: str
    phase: Phase
    since: float
    moved: float
    seen: float
    mode: Literal["enforce", "dry_run"]
    why: Why = ""
    rung: int = 0
    step: int = 0
    relapses: int = 0
    usual_rps: float | None = None
    spared: int = 0
    renew: float = 0.0
    expires: float = 0.0

    @property
    def scope(self) -> Scope:
        return Scope(kind=self.kind, value=self.value, workflow=self.workflow)

    @property
    def active(self) -> bool:
        """Whether a command is in force."""
        return self.phase in ("held", "releasing")

    @property
    def proposal(self) -> str:
        """The id that an approval names: of this scope, for this incident, by this rule."""
        return _hash(self.rule, self.scope.key, self.fingerprint)


def ladder(rule: Rule) -> Ladder:
    """The rule's ladder; without one its action is the only rung."""
    return rule.ladder or DEFAULT


def step(climb: Climb, rule: Rule, trouble: bool, now: float) -> Change | None:
    """One step of a scope that is throttled, changed in place.

    Parameters
    ----------
    trouble : bool
        Whether the incident goes on.

    Returns
    -------
    Change or None
        What changed: each needs a new command, "released" and "rested" a release.
    """
    way = ladder(rule)
    if trouble:
        climb.seen = max(climb.seen, now)
    climb.rung = min(climb.rung, len(way.rungs))
    if climb.phase == "held":
        if now - climb.since >= way.max_s:
            climb.why = "longest"
            return _release(climb, rule, now)
        if trouble:
            if climb.rung < len(way.rungs) and now - climb.moved >= way.rungs[climb.rung].hold_s:
                climb.rung, climb.moved = climb.rung + 1, now
                return "stronger"
        elif now >= _clear_at(climb, way):
            return _release(climb, rule, now)
    elif climb.phase == "releasing":
        if trouble and now - climb.since >= way.max_s:
            climb.why = "longest"
        if trouble and climb.why != "longest":
            climb.phase, climb.moved, climb.step = "held", now, 0
            climb.relapses += 1
            return "back"
        if now - climb.moved >= way.release_every_s:
            return _release(climb, rule, now)
    return None


def action(climb: Climb, rule: Rule) -> Slow | Downgrade | Cap | Block | Release:
    """What is in force for a scope now."""
    if climb.phase == "held":
        return _rung(climb, rule)
    if climb.phase == "releasing":
        return Slow(max_rps=_rates(climb, rule)[climb.step - 1])
    return Release()


def command(climb: Climb, rule: Rule, now: float, sequence: int, config_version: str) -> ThrottleCommand:
    """The command for what is in force now; it expires after the rule's `duration_s` unless it is renewed.

    The same climb, time and sequence give the same bytes.
    """
    climb.expires = now + rule.duration_s
    climb.renew = climb.expires - min(RENEW_BEFORE_S, rule.duration_s / 2)
    return ThrottleCommand(
        command_id=_hash(climb.fingerprint, climb.scope.key, str(sequence)),
        scope=climb.scope,
        action=action(climb, rule),
        reason=climb.reason,
        alert_fingerprint=climb.fingerprint,
        mode=climb.mode,
        issued_at=_at(now),
        expires_at=_at(climb.expires),
        sequence=sequence,
        config_version=config_version,
    )


def spared(climb: Climb, rule: Rule, calls: int, spent: int, seconds: float) -> int:
    """Nano-dollars of what was spent that the action in force would have stopped.

    A block stops all and a slow all beyond its rate; what a downgrade or a cap saves is not known here: 0.
    """
    match action(climb, rule):
        case Block():
            return max(spent, 0)
        case Slow(max_rps=most):
            beyond = calls - most * seconds
            return max(spent, 0) * int(beyond) // calls if beyond >= 1 else 0
        case _:
            return 0


def due(climb: Climb, rule: Rule, trouble: bool) -> float:
    """When time alone next changes a scope."""
    way = ladder(rule)
    match climb.phase:
        case "held":
            times = [climb.since + way.max_s, climb.renew]
            if not trouble:
                times.append(_clear_at(climb, way))
            elif climb.rung < len(way.rungs):
                times.append(climb.moved + way.rungs[climb.rung].hold_s)
            return min(times)
        case "releasing":
            return min(climb.moved + way.release_every_s, climb.renew)
        case "waiting":
            return climb.moved + way.approval_wait_s if trouble else climb.seen + way.clear_s
        case _:
            return float("inf") if trouble else forgotten_at(climb, rule)


def forgotten_at(climb: Climb, rule: Rule) -> float:
    """When nothing of a scope that is not throttled need be remembered any more, if it stays quiet."""
    quiet = ladder(rule).clear_s * 2.0 ** min(climb.relapses, MOST_DOUBLINGS)
    return max(climb.seen, climb.moved) + quiet


def _clear_at(climb: Climb, way: Ladder) -> float:
    quiet = way.clear_s * 2.0 ** min(climb.relapses, MOST_DOUBLINGS)
    return max(climb.seen + quiet, climb.since + way.min_s)


def _release(climb: Climb, rule: Rule, now: float) -> Change:
    """The next step on the way back to the usual rate."""
    first = climb.phase == "held"
    climb.step = 1 if first else climb.step + 1
    climb.moved = now
    if climb.step > len(_rates(climb, rule)):
        climb.phase, climb.step = ("rested" if climb.why == "longest" else "released"), 0
        return "rested" if climb.phase == "rested" else "released"
    climb.phase = "releasing"
    return "releasing" if first else "faster"


def _rung(climb: Climb, rule: Rule) -> RuleAction:
    rungs = ladder(rule).rungs
    return rungs[climb.rung].action if climb.rung < len(rungs) else rule.action


def _rates(climb: Climb, rule: Rule) -> list[float]:
    """Rates between the rung's and the usual one, in equal steps; none where a rung does not limit the rate."""
    rung, steps = _rung(climb, rule), ladder(rule).release_steps
    slows = [r.action.max_rps for r in ladder(rule).rungs if isinstance(r.action, Slow)]
    if not isinstance(rung, (Slow, Block)):
        return []
    low = rung.max_rps if isinstance(rung, Slow) else 0.0
    usual = climb.usual_rps
    if usual is None:  # then by steps of the rate that was thought bearable
        usual = low + (steps + 1) * (slows[-1] if slows else low or 1.0)
    if usual <= low:
        return []
    return [low + (usual - low) * k / (steps + 1) for k in range(1, steps + 1)]


def _hash(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _at(epoch: float) -> datetime:
    return datetime.fromtimestamp(round(epoch, 3), UTC)

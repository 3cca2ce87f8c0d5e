"""All throttles at once: which scopes are taken, how many at a time, who is asked first, and what is never touched.

How it is meant to be called, by whoever knows the incidents:

1. `terms = Terms.of(book)` when the configuration changes; `trouble_of(alert, terms)` for each alert that fires.
2. `moves = advance(state, troubles, now, terms, traffic)` whenever an incident begins, is seen again or ends, and
   when `due(state, terms, troubles)` is reached. `troubles` are *all* incidents that are not over and that a rule
   matches, the dearest first: what is not among them is over. A budget that is used up is an incident too, with a
   fingerprint per window.
3. Send `moves.commands`, tell people `moves.told`, then keep `dump(state)`. Commands may be sent again after a
   crash: the same state, troubles and time give the same commands with the same ids and sequences.

`now` never goes back. It is the time of gateways: commands are issued and expire in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from schemas.control import Approval, Guard, Rule, RuleRelease
from schemas.throttles import Scope
from service.rules.ladder import Climb, Why, action, command, forgotten_at, ladder, spared, step
from service.rules.ladder import due as due_of
from service.rules.trouble import Moves, Target, Terms, Told, ToldKind, Traffic, Trouble

VERSION: Final = 1
SETTLE_S: Final = 15.0
"""What is seen so soon after a command says nothing of it: it had to travel, and calls were under way."""
MOST: Final = 2_000
"""Scopes remembered at once, throttled or not: what comes beyond that has to wait until others are over."""
NEVER: Final = float("inf")


class Throttling(msgspec.Struct, array_like=True):
    """The state: scopes by key, and the highest sequence that was given to a command."""

    now: float = 0.0
    sequence: int = 0
    climbs: dict[str, Climb] = {}


class UnreadableThrottling(ValueError):
    """Bytes that no version of the codec wrote."""


def dump(state: Throttling) -> bytes:
    """State to bytes: one version byte, then MessagePack."""
    return bytes((VERSION,)) + msgspec.msgpack.encode(state)


def load(data: bytes) -> Throttling:
    """Bytes to state. Raises UnreadableThrottling."""
    if not data or data[0] != VERSION:
        raise UnreadableThrottling(f"version {data[0] if data else 'none'}, this release reads {VERSION}")
    try:
        return msgspec.msgpack.decode(memoryview(data)[1:], type=Throttling)
    except msgspec.MsgspecError as error:
        raise UnreadableThrottling(str(error)) from None


def advance(
    state: Throttling,
    troubles: Sequence[Trouble],
    now: float,
    terms: Terms,
    traffic: Mapping[str, Traffic] | None = None,
) -> Moves:
    """Let time pass with what is wrong now. Changes the state; says what to send and what to tell.

    `traffic` is by scope key, and only looked at for dry runs.
    """
    moves = Moves()
    seconds, state.now = max(now - state.now, 0.0), max(now, state.now)
    if not terms.on:
        for climb in state.climbs.values():
            _end(state, climb, terms, moves, "throttles are switched off")
        state.climbs = {}
        return moves
    for key, seen in (traffic or {}).items():
        dry = state.climbs.get(key)
        if dry is not None and dry.active and dry.mode == "dry_run" and dry.rule in terms.rules:
            dry.spared += spared(dry, terms.rules[dry.rule], seen.calls, seen.spent, seconds)
    wanted = _wanted(state, troubles, terms)
    for key, climb in list(state.climbs.items()):  # first: what ends makes room
        _move(state, climb, terms, moves, trouble=_goes_on(climb, wanted.get(key)))
    taken = Counter(place for climb in state.climbs.values() if climb.active for place in _places(climb))
    for key, (target, trouble) in wanted.items():
        _want(state, key, target, trouble, terms, moves, taken)
    _forget(state, terms, wanted, moves)
    return moves


def due(state: Throttling, terms: Terms, troubles: Sequence[Trouble] = ()) -> float:
    """When time alone next changes something; `NEVER` when nothing waits."""
    if not terms.on:
        return state.now if state.climbs else NEVER
    wanted = _wanted(state, troubles, terms)
    return min(
        (
            # What is released while its incident is not over waits for a record of it, and not for the time.
            due_of(
                climb,
                terms.rules[climb.rule],
                _goes_on(climb, wanted.get(key)) if climb.active else key in wanted,
            )
            if climb.rule in terms.rules
            else state.now
            for key, climb in state.climbs.items()
        ),
        default=NEVER,
    )


def _wanted(
    state: Throttling, troubles: Sequence[Trouble], terms: Terms
) -> dict[str, tuple[Target, Trouble]]:
    """Scopes that should be throttled now, by key: of each incident the narrowest level, wider ones if need be."""
    found: dict[str, tuple[Target, Trouble]] = {}
    for trouble in troubles:
        rule = terms.rules.get(trouble.rule)
        if rule is None:
            continue
        widest = 0
        for number, level in enumerate(trouble.levels):
            held = [state.climbs.get(target.scope.key) for target in level]
            if number and any(
                c is not None and c.active and c.fingerprint == trouble.fingerprint for c in held
            ):
                widest = max(widest, number)
            if number == widest and held and all(_did_not_help(c, rule, trouble, state.now) for c in held):
                widest = number + 1
        for level in trouble.levels[: widest + 1]:
            for target in level:
                found.setdefault(target.scope.key, (target, trouble))
    return found


def _goes_on(climb: Climb, wanted: tuple[Target, Trouble] | None) -> bool:
    """Whether the incident goes on under what was last done to the scope, and is not only not over yet."""
    if wanted is None:
        return False
    if climb.phase in ("waiting", "barred"):
        return True
    return wanted[1].fresh and wanted[1].seen > climb.moved + SETTLE_S


def _did_not_help(climb: Climb | None, rule: Rule, trouble: Trouble, now: float) -> bool:
    # A dry run helps nobody: that the incident goes on says nothing of what the throttle would have done.
    way = ladder(rule)
    return (
        climb is not None
        and way.widen_s is not None
        and climb.mode == "enforce"
        and climb.phase == "held"
        and climb.rung >= len(way.rungs)
        and now - climb.moved >= way.widen_s
        and trouble.seen > climb.moved + SETTLE_S
    )


def _move(state: Throttling, climb: Climb, terms: Terms, moves: Moves, *, trouble: bool) -> None:
    """One scope that is remembered: time passes."""
    rule = terms.rules.get(climb.rule)
    if rule is None or (climb.active and _is_protected(climb.scope, terms.guard)):
        why = "its rule is gone" if rule is None else "it is protected now"
        _end(state, climb, terms, moves, why)
        del state.climbs[climb.scope.key]
        return
    answer = _answer(climb, terms, state.now)
    if climb.active and answer is not None and answer.decision == "no":
        _end(state, climb, terms, moves, f"released by {answer.author}")
        climb.phase, climb.why, climb.moved = "barred", "refused", state.now
        return
    if not climb.active:
        if trouble:
            climb.seen = state.now
        return
    changed = climb.mode != rule.mode
    if changed:  # what was only a dry run has helped nobody yet
        climb.mode, climb.moved = rule.mode, state.now
    change = step(climb, rule, trouble, state.now)
    if change is not None:
        _tell(climb, rule, change, state.now, moves, climb.why)
    if change is not None or changed or state.now >= climb.renew:
        _send(state, climb, rule, terms, moves)


def _want(
    state: Throttling,
    key: str,
    target: Target,
    trouble: Trouble,
    terms: Terms,
    moves: Moves,
    taken: Counter[tuple[str, str]],
) -> None:
    """A scope that an incident asks for."""
    now, rule = state.now, terms.rules[trouble.rule]
    climb = state.climbs.get(key)
    if climb is None and (len(state.climbs) >= MOST or not trouble.fresh):
        return
    if climb is None or (not climb.active and climb.phase != "rested" and climb.rule != trouble.rule):
        scope = target.scope
        climb = state.climbs[key] = Climb(
            scope.kind, scope.value, scope.workflow, trouble.rule, trouble.fingerprint, trouble.reason,
            "barred", now, now, now, rule.mode,
        )  # fmt: skip
    climb.usual_rps = target.usual_rps if target.usual_rps is not None else climb.usual_rps
    if climb.active or climb.phase == "rested":
        return
    if climb.phase == "released" and not _goes_on(climb, (target, trouble)):
        return
    if climb.fingerprint != trouble.fingerprint:
        climb.fingerprint, climb.why = trouble.fingerprint, ""
        climb.phase = climb.phase if climb.phase == "released" else "barred"
    climb.reason, climb.mode = trouble.reason, rule.mode
    if _admit(climb, rule, terms, moves, state.now, taken):
        taken.update(_places(climb))
        _send(state, climb, rule, terms, moves)


def _places(climb: Climb) -> tuple[tuple[str, str], tuple[str, str]]:
    """What a throttle takes of the guard's limit and of its rule's. Dry runs leave the room of what is meant."""
    return (climb.mode, ""), (climb.mode, climb.rule)


def _admit(
    climb: Climb, rule: Rule, terms: Terms, moves: Moves, now: float, taken: Counter[tuple[str, str]]
) -> bool:
    """Whether a scope is throttled from now on."""
    way, (of_all, of_rule) = ladder(rule), _places(climb)
    if _is_protected(climb.scope, terms.guard):
        return _bar(climb, rule, "protected", now, moves)
    answer = _answer(climb, terms, now)
    if answer is not None and answer.decision == "no":
        return _bar(climb, rule, "refused", now, moves)
    asked = climb.phase == "waiting" or climb.why == "lapsed"
    full = taken[of_all] >= terms.guard.max_scopes or taken[of_rule] >= way.max_scopes
    # Room is needed to ask and to act on a yes, not to wait for an answer.
    if full and (answer is not None or not (way.approval and asked)):
        return _bar(climb, rule, "limit", now, moves)
    if way.approval and answer is None:
        return _ask(climb, rule, now, moves)
    if climb.phase == "released":  # it came back: to the rung that had stopped it
        climb.relapses += 1
    else:
        climb.relapses = climb.rung = 0
    climb.phase, climb.why, climb.step, climb.spared = "held", "", 0, 0
    climb.since = climb.moved = climb.seen = now
    _tell(climb, rule, "started", now, moves)
    return True


def _answer(climb: Climb, terms: Terms, now: float) -> Approval | None:
    """What a person has said, as long as that holds. A no also ends what nobody had to be asked about."""
    answer = terms.approvals.get(climb.proposal)
    over = answer is not None and answer.expires_at is not None and answer.expires_at.timestamp() <= now
    return None if over else answer


def _ask(climb: Climb, rule: Rule, now: float, moves: Moves) -> bool:
    if climb.phase == "waiting":
        if now - climb.moved >= ladder(rule).approval_wait_s:
            _bar(climb, rule, "lapsed", now, moves)
    elif climb.why != "lapsed":
        climb.phase, climb.why, climb.moved = "waiting", "", now
        _tell(climb, rule, "proposed", now, moves)
    return False


def _bar(climb: Climb, rule: Rule, why: Why, now: float, moves: Moves) -> bool:
    if (climb.phase, climb.why) != ("barred", why):
        climb.phase, climb.why, climb.moved = "barred", why, now
        _tell(climb, rule, "barred", now, moves, why)
    return False


def _forget(
    state: Throttling, terms: Terms, wanted: Mapping[str, tuple[Target, Trouble]], moves: Moves
) -> None:
    for key, climb in list(state.climbs.items()):
        if climb.active or key in wanted:
            continue
        rule = terms.rules[climb.rule]
        if climb.phase == "waiting" and state.now >= climb.seen + ladder(rule).clear_s:
            _tell(climb, rule, "withdrawn", state.now, moves)
            del state.climbs[key]
        elif state.now >= forgotten_at(climb, rule):
            del state.climbs[key]


def _end(state: Throttling, climb: Climb, terms: Terms, moves: Moves, why: str) -> None:
    """Release at once, whatever the ladder says."""
    if not climb.active:
        return
    climb.phase, climb.reason = "released", why
    rule = terms.rules.get(climb.rule) or Rule(name=climb.rule, action=RuleRelease())
    _tell(climb, rule, "ended", state.now, moves, why)
    _send(state, climb, rule, terms, moves)


def _send(state: Throttling, climb: Climb, rule: Rule, terms: Terms, moves: Moves) -> None:
    state.sequence = max(state.sequence + 1, round(state.now * 1e6))
    moves.commands.append(command(climb, rule, state.now, state.sequence, terms.config_version))


def _tell(climb: Climb, rule: Rule, kind: ToldKind, now: float, moves: Moves, why: str = "") -> None:
    moves.told.append(
        Told(
            kind, climb.scope, climb.rule, climb.mode, climb.fingerprint, now, climb.since,
            action(climb, rule).action, why, climb.spared, climb.proposal,
        )
    )  # fmt: skip


def _is_protected(scope: Scope, guard: Guard) -> bool:
    return any(
        (scope.kind == one.kind and fnmatchcase(scope.value, one.value))
        or (one.kind == "workflow" and scope.workflow is not None and fnmatchcase(scope.workflow, one.value))
        for one in guard.never
    )

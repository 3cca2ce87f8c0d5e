"""Whatever incidents come and whatever is configured: limits hold, and nothing lapses or is said twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.control import Approval, Guard, Ladder, Protected, Rule, RuleBlock, RuleDowngrade, RuleSlow, Rung
from schemas.throttles import Scope
from service.rules.throttling import NEVER, Throttling, advance, due, dump, load
from service.rules.trouble import Target, Terms, Trouble

T0 = 1_770_000_000.0
RUNGS = [
    Rung(action=RuleSlow(max_rps=2.0), hold_s=20.0),
    Rung(action=RuleDowngrade(fallback_model="small"), hold_s=20.0),
]
LADDERS = {
    "plain": Ladder(clear_s=30.0, min_s=0.0, max_scopes=2),
    "graded": Ladder(rungs=RUNGS, clear_s=30.0, min_s=0.0, max_s=200.0, widen_s=40.0, max_scopes=3),
    "asking": Ladder(rungs=RUNGS, clear_s=30.0, min_s=0.0, approval=True, approval_wait_s=60.0),
}


def rules(mode: str) -> dict[str, Rule]:
    return {
        name: Rule(
            name=name, action=RuleBlock(message="No."), mode=mode, duration_s=60.0, ladder=ladder  # type: ignore[arg-type]
        )
        for name, ladder in LADDERS.items()
    }  # fmt: skip


ENFORCED, DRY = rules("enforce"), rules("dry_run")


def target(kind: str, value: int) -> Target:
    workflow = None if kind == "workflow" else f"w{value % 2}"
    return Target(Scope(kind=kind, value=f"{kind[0]}{value}", workflow=workflow), 5.0)  # type: ignore[arg-type]


troubles = st.lists(
    st.builds(
        lambda rule, n: Trouble(
            f"f{rule}{n}",
            rule,
            "a loop",
            ((target("trace", n), target("trace", n + 10)), (target("workflow", n % 3),)),
        ),
        st.sampled_from(sorted(LADDERS)),
        st.integers(0, 3),
    ),
    max_size=4,
    unique_by=lambda trouble: trouble.fingerprint,
)  # fmt: skip
terms = st.builds(
    lambda mode, most, never, on: Terms(
        mode, Guard(max_scopes=most, never=[Protected(value=v) for v in never]), on=on
    ),
    st.sampled_from([ENFORCED, ENFORCED, DRY, {}]),
    st.integers(1, 6),
    st.sets(st.sampled_from(["w0", "w2"]), max_size=1),
    st.sampled_from([True, True, True, True, False]),
)
walks = st.lists(
    st.tuples(st.integers(1, 60), troubles, st.none() | terms, st.sampled_from(["yes", "no", None])),
    min_size=3,
    max_size=40,
)


@settings(deadline=None)
@given(walks)
def test_limits_hold_and_nothing_lapses_whatever_happens(
    walk: list[tuple[int, list[Trouble], Terms | None, str | None]],
) -> None:
    state, holds, now, sequence = Throttling(), Terms(ENFORCED), T0, 0
    in_force: dict[str, tuple[float, str]] = {}
    for seconds, present, changed, answer in walk:
        # Time that passes is seen in steps, as ticks are.
        holds = holds if changed is None else replace(changed, approvals=holds.approvals)
        waiting = [climb.proposal for climb in state.climbs.values() if climb.phase == "waiting"]
        if answer and waiting:
            said = Approval(name="x", proposal=waiting[0], decision=answer, author="me")  # type: ignore[arg-type]
            holds = replace(holds, approvals={**holds.approvals, waiting[0]: said})
        for _ in range(0, seconds, 10):
            now += 10
            before = dump(state)
            moves = advance(state, present, now, holds)
            again = advance(state, present, now, holds)
            assert (again.commands, again.told) == ([], [])
            crashed = load(before)
            assert advance(crashed, present, now, holds) == moves
            for command in moves.commands:
                assert command.sequence > sequence
                sequence = command.sequence
                in_force[command.scope.key] = (command.expires_at.timestamp(), command.action.action)
            _check(state, holds, now, in_force)
            assert due(state, holds, present) == NEVER or state.climbs
            assert not state.climbs or due(state, holds, present) > now


def _check(state: Throttling, holds: Terms, now: float, in_force: dict[str, tuple[float, str]]) -> None:
    active = {key: climb for key, climb in state.climbs.items() if climb.active}
    assert holds.on or not state.climbs
    for key, (expires, action) in in_force.items():
        if key in active:
            assert expires > now, "a throttle that holds never lapses"
            assert action != "release"
        else:
            assert action == "release", "and one that does not hold was released"
    for climb in active.values():
        assert not any(p.value in (climb.value, climb.workflow) for p in holds.guard.never)
        assert climb.rule in holds.rules
    for rule, number in Counter((c.rule, c.mode) for c in active.values()).items():
        assert number <= LADDERS[rule[0]].max_scopes or rule[1] != holds.rules[rule[0]].mode

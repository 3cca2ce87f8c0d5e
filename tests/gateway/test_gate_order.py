"""Whatever commands come, in whatever order and however often: the same limits, and no status that SDKs repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from gateway import Call, Gate, GatePolicy
from schemas.throttles import Action, Block, Cap, Downgrade, Release, ScopeKind, Slow, ThrottleCommand
from tests.gateway.clock import T0, HandClock
from tests.gateway.records import command, snapshot

KINDS: tuple[ScopeKind, ...] = get_args(ScopeKind)
actions: st.SearchStrategy[Action] = st.sampled_from(
    [
        Block(message="no"),
        Release(),
        Slow(max_rps=0.5),
        Slow(max_rps=50),
        Cap(max_calls_per_trace=3),
        Cap(max_output_tokens=10),
        Downgrade(fallback_model="b"),
        Downgrade(fallback_model="a"),
    ]
)
names = st.sampled_from(["a", "b"])
commands = st.builds(
    command,
    st.integers(0, 6),
    actions,
    st.sampled_from(KINDS),
    names,
    workflow=st.none() | names,
    lasts_s=st.sampled_from([5.0, 50.0, 500.0]),
    issued_at=st.sampled_from([T0 - timedelta(seconds=10), T0, T0 + timedelta(seconds=3)]),
    mode=st.sampled_from(["enforce", "dry_run"]),
    command_id=st.sampled_from(["x", "y"]),
)
calls = st.builds(
    Call,
    model=names,
    workflow=names,
    trace_id=st.none() | names,
    customer=st.none() | names,
    team=st.none() | names,
    api_key=st.none() | names,
    feature=st.none() | names,
    environment=st.none() | names,
    max_output_tokens=st.none() | st.integers(1, 20),
    estimate_nanos=st.none() | st.integers(0, 300),
)
CORNERS = [
    Call(model=m, workflow=w, trace_id=t, customer=t, team=m, api_key=w, feature=t, environment=m)
    for m in "ab"
    for w in "ab"
    for t in (None, "a", "b")
]


def in_force(told: list[ThrottleCommand], at: float) -> dict[str, ThrottleCommand]:
    clock = HandClock()
    gate = Gate("gw", clock=clock)
    for each in told:
        gate.obey(each)
    clock.advance(at)
    gate.heard()
    return {key: held.command for key, held in gate.in_force().items()}


def unique(told: list[ThrottleCommand]) -> list[ThrottleCommand]:
    """One command is one thing: two that differ do not have the same scope, sequence and id."""
    return list({(c.scope.key, c.sequence, c.command_id): c for c in told}.values())


@given(st.lists(commands, max_size=12).map(unique), st.randoms(use_true_random=False), st.floats(0, 600))
def test_neither_order_nor_duplicates_change_what_is_in_force(
    told: list[ThrottleCommand], chance: object, at: float
) -> None:
    again = [*told, *told]
    chance.shuffle(again)  # type: ignore[attr-defined]
    assert in_force(again, at) == in_force(told, at)


@given(st.lists(commands, max_size=12).map(unique), st.floats(0, 600))
def test_for_each_scope_the_highest_sequence_holds_until_it_expires(
    told: list[ThrottleCommand], at: float
) -> None:
    newest: dict[str, ThrottleCommand] = {}
    for each in sorted(told, key=lambda c: (c.sequence, c.command_id)):
        newest[each.scope.key] = each
    expected = {
        key: c
        for key, c in newest.items()
        if not isinstance(c.action, Release)
        # From its arrival at T0 on, and never longer than it was meant to last.
        and min(c.expires_at - T0, c.expires_at - c.issued_at).total_seconds() > at
    }
    assert in_force(told, at) == expected


@given(
    st.lists(commands, max_size=8), st.lists(st.tuples(calls, st.floats(0, 20)), max_size=20), st.booleans()
)
def test_no_rejection_ever_has_a_status_that_clients_repeat(
    told: list[ThrottleCommand], asked: list[tuple[Call, float]], closed: bool
) -> None:
    clock = HandClock()
    policy = GatePolicy(on_stale="closed" if closed else "open", max_delay_s=1.0)
    gate = Gate("gw", policy, clock)
    for each in told:
        gate.obey(each)
    gate.take(snapshot(limit=500, value="a", reserve=50))
    gate.take(
        snapshot(limit=100, value="b", budget="c", fail="closed", valid_until=T0 + timedelta(seconds=60))
    )
    for call, pause in asked:
        clock.advance(pause)
        decision = gate.decide(call)
        if decision.rejection is not None:
            assert decision.rejection.status in (403, 422)
            assert decision.rejection.body()["error"]["message"]
            assert decision.ticket is None
        else:
            assert decision.delay_s <= 1.0
            gate.settle(decision.ticket, 40)


@given(st.lists(commands.filter(lambda c: c.mode == "dry_run"), max_size=12))
def test_dry_runs_alone_change_no_decision(told: list[ThrottleCommand]) -> None:
    gate = Gate("gw", clock=HandClock())
    for each in told:
        gate.obey(each)
    assert {gate.decide(call).action for call in CORNERS} == {"allow"}

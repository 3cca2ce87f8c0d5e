"""What the gate says about calls, by the commands and budgets it was told of."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any, get_args

import pytest

from gateway import Call, Decision, Gate, GatePolicy
from schemas.throttles import Action, Block, Cap, Downgrade, Release, ScopeKind, Slow
from tests.gateway.clock import T0, HandClock
from tests.gateway.records import STOP, command, snapshot


def call(**fields: Any) -> Call:
    return Call(
        **{
            "model": "big",
            "workflow": "w",
            "trace_id": "t",
            "customer": "acme",
            "team": "care",
            "api_key": "k",
            "feature": "triage",
            "environment": "production",
            **fields,
        }
    )


def gate(**policy: Any) -> tuple[Gate, HandClock]:
    clock = HandClock()
    return Gate("gw", GatePolicy(**policy), clock), clock


def code(decision: Decision) -> str | None:
    return decision.rejection.code if decision.rejection is not None else None


def test_a_call_that_nothing_is_about_is_allowed_as_it_is() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(value="another"))
    decision = the_gate.decide(call())
    assert (decision.action, decision.allowed, decision.ticket) == ("allow", True, None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("workflow", "w"),
        ("trace", "t"),
        ("customer", "acme"),
        ("team", "care"),
        ("api_key", "k"),
        ("model", "big"),
        ("feature", "triage"),
        ("environment", "production"),
        ("organisation", "whatever it is called"),
    ],
)
def test_every_kind_of_scope_can_be_blocked(kind: ScopeKind, value: str) -> None:
    the_gate, _ = gate()
    the_gate.obey(command(kind=kind, value=value))
    decision = the_gate.decide(call())
    assert decision.rejection is not None
    assert decision.rejection.status == 403
    assert decision.rejection.body()["error"] == {
        "message": "Stopped: a loop.",
        "type": "tidegate_rejection",
        "param": None,
        "code": "throttled",
        "scope": f"{kind}:{value}" if kind != "organisation" else kind,
        "command_id": "c1",
    }


def test_a_scope_inside_a_workflow_leaves_the_same_name_in_others_alone() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(kind="customer", value="acme", workflow="w"))
    assert not the_gate.decide(call()).allowed
    assert the_gate.decide(call(workflow="v")).allowed


def test_the_narrowest_scope_says_why() -> None:
    the_gate, _ = gate()
    widest_first = [
        ("model", "big"),
        ("organisation", "o"),
        ("environment", "production"),
        ("team", "care"),
        ("workflow", "w"),
        ("feature", "triage"),
        ("api_key", "k"),
        ("customer", "acme"),
        ("trace", "t"),
    ]
    assert {kind for kind, _ in widest_first} == set(get_args(ScopeKind))
    for sequence, (kind, value) in enumerate(widest_first, start=1):
        the_gate.obey(command(sequence, kind=kind, value=value))  # type: ignore[arg-type]
        rejection = the_gate.decide(call()).rejection
        assert rejection is not None
        assert rejection.command_id == f"c{sequence}"


def test_slow_spaces_calls_out_at_its_rate_and_rejects_what_would_wait_too_long() -> None:
    the_gate, clock = gate(max_delay_s=1.0)
    the_gate.obey(command(action=Slow(max_rps=2.0)))
    decisions = [the_gate.decide(call()) for _ in range(6)]
    assert [d.delay_s for d in decisions] == pytest.approx([0, 0, 0.5, 1.0, 0, 0])
    assert [code(d) for d in decisions] == [None, None, None, None, "slowed", "slowed"]
    clock.advance(1.0)
    assert [the_gate.decide(call()).delay_s for _ in range(2)] == pytest.approx([0.5, 1.0])


def test_a_renewed_slow_is_no_new_burst() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(1, Slow(max_rps=1.0)))
    the_gate.decide(call())
    the_gate.obey(command(2, Slow(max_rps=1.0)))
    assert the_gate.decide(call()).delay_s == pytest.approx(1.0)


def test_several_processes_share_a_rate() -> None:
    the_gate, _ = gate(processes=4)
    the_gate.obey(command(action=Slow(max_rps=2.0)))
    assert [the_gate.decide(call()).delay_s for _ in range(2)] == pytest.approx([0, 2.0])


def test_a_downgrade_changes_the_model_and_what_is_about_the_old_one_does_not_matter() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Downgrade(fallback_model="small")))
    the_gate.obey(command(kind="model", value="big"))
    decision = the_gate.decide(call())
    assert (decision.action, decision.model) == ("downgrade", "small")


def test_a_downgrade_to_a_model_that_is_blocked_is_blocked() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Downgrade(fallback_model="small")))
    the_gate.obey(command(kind="model", value="small"))
    assert code(the_gate.decide(call())) == "throttled"


def test_what_everybody_is_downgraded_to_may_be_limited_too() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(1, Downgrade(fallback_model="small"), "organisation", "o"))
    the_gate.obey(command(2, Block(message="no"), "model", "small"))
    assert code(the_gate.decide(call())) == "throttled"


def test_there_is_one_organisation_whatever_it_is_called() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(1, kind="organisation", value="acme-inc"))
    the_gate.obey(command(2, Release(), kind="organisation", value="acme"))
    assert the_gate.decide(call()).allowed


def test_of_two_downgrades_the_narrower_scope_decides() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Downgrade(fallback_model="small")))
    the_gate.obey(command(kind="trace", value="t", action=Downgrade(fallback_model="tiny")))
    assert the_gate.decide(call()).model == "tiny"


def test_models_that_pass_a_call_on_in_a_circle_come_to_an_end() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(kind="model", value="big", action=Downgrade(fallback_model="small")))
    the_gate.obey(command(kind="model", value="small", action=Downgrade(fallback_model="big")))
    assert the_gate.decide(call()).allowed


def test_a_downgrade_to_a_model_that_is_not_here_is_not_supported_and_what_held_holds() -> None:
    the_gate, _ = gate(models=frozenset({"big", "small"}))
    the_gate.obey(command(1, Downgrade(fallback_model="small")))
    ack = the_gate.obey(command(2, Downgrade(fallback_model="tiny")))
    assert (ack.result, ack.detail) == ("unsupported", "no such model here: tiny")
    assert the_gate.decide(call()).model == "small"


@pytest.mark.parametrize(("asked", "told"), [(None, 100), (500, 100), (80, None)])
def test_a_cap_lowers_what_a_call_may_write_and_never_raises_it(asked: int | None, told: int | None) -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Cap(max_output_tokens=100)))
    assert the_gate.decide(call(max_output_tokens=asked)).max_output_tokens == told


def test_a_trace_is_capped_by_all_the_calls_it_made_also_those_before_the_command() -> None:
    the_gate, _ = gate()
    for _ in range(5):
        the_gate.decide(call())
    the_gate.obey(command(action=Cap(max_calls_per_trace=5)))
    decision = the_gate.decide(call())
    assert code(decision) == "trace_calls_exceeded"
    assert decision.rejection is not None
    assert decision.rejection.status == 422
    assert [the_gate.decide(call(trace_id="other")).allowed for _ in range(6)] == [True] * 5 + [False]


def test_traces_are_counted_in_bounded_memory() -> None:
    the_gate, _ = gate(max_traces=10)
    for n in range(1_000):
        the_gate.decide(call(trace_id=f"t{n}"))
    assert len(the_gate._traces) <= 20


def test_slow_cap_and_downgrade_come_together() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(kind="trace", value="t", action=Slow(max_rps=0.5)))
    the_gate.obey(command(kind="customer", value="acme", action=Cap(max_output_tokens=9)))
    the_gate.obey(command(action=Downgrade(fallback_model="small")))
    the_gate.decide(call())
    decision = the_gate.decide(call())
    assert (decision.delay_s, decision.model, decision.max_output_tokens) == (2.0, "small", 9)
    assert decision.action == "cap"


ACTIONS: list[Action] = [
    STOP,
    Slow(max_rps=0.001),
    Downgrade(fallback_model="small"),
    Cap(max_output_tokens=1),
    Cap(max_calls_per_trace=1),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_dry_run_changes_no_call_and_says_what_it_would_have_done(action: Action) -> None:
    the_gate, clock = gate()
    ack = the_gate.obey(command(action=action, mode="dry_run"))
    assert (ack.result, ack.detail) == ("ignored", "dry run: counted, not enforced")
    for _ in range(4):
        assert the_gate.decide(call()) == Decision()
    assert the_gate.counts()["dry_run"] >= 3
    clock.advance(601)
    (told,) = the_gate.heard()
    assert told.result == "expired"
    assert told.detail is not None
    assert told.detail.startswith("dry run: ")
    assert any(word in told.detail for word in ("3 ", "4 "))


def test_a_release_frees_the_scope_and_is_applied() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(1))
    assert the_gate.obey(command(2, Release())).result == "applied"
    assert the_gate.decide(call()).allowed
    assert the_gate.obey(command(1)).result == "ignored"
    assert the_gate.decide(call()).allowed


def test_a_command_ends_when_the_monotonic_clock_says_so_whatever_the_wall_clock_does() -> None:
    the_gate, clock = gate()
    the_gate.obey(command(lasts_s=60))
    clock.wall += timedelta(days=1)
    clock.elapsed += 59
    assert not the_gate.decide(call()).allowed
    clock.wall -= timedelta(days=2)
    clock.elapsed += 1
    assert the_gate.decide(call()).allowed


def test_a_wall_clock_that_is_behind_makes_no_command_longer() -> None:
    clock = HandClock(T0 - timedelta(hours=3))
    the_gate = Gate("gw", clock=clock)
    the_gate.obey(command(lasts_s=60))
    clock.advance(60)
    assert the_gate.decide(call()).allowed


def test_what_has_expired_on_arrival_is_answered_so_and_ends_what_it_follows() -> None:
    the_gate, clock = gate()
    the_gate.obey(command(1, lasts_s=600))
    clock.advance(100)
    assert the_gate.obey(command(2, lasts_s=50)).result == "expired"
    assert the_gate.decide(call()).allowed


def test_more_scopes_than_can_be_held_fail_and_may_come_again_later() -> None:
    the_gate, clock = gate(max_scopes=2)
    results = [the_gate.obey(command(1, value=f"w{n}", lasts_s=60)).result for n in range(3)]
    assert results == ["applied", "applied", "failed"]
    clock.advance(60)
    the_gate.heard()
    assert the_gate.obey(command(1, value="w2")).result == "applied"


def test_a_feed_that_is_silent_too_long_lets_calls_pass_or_stops_them_as_the_policy_says() -> None:
    for on_stale, expected in (("open", None), ("closed", "limits_unknown")):
        the_gate, clock = gate(on_stale=on_stale, stale_after_s=30, exempt_workflows=frozenset({"vital"}))
        clock.advance(29)
        the_gate.heard()
        clock.advance(29)
        assert code(the_gate.decide(call())) is None
        clock.advance(1)
        assert the_gate.stale
        assert code(the_gate.decide(call())) == expected
        assert the_gate.decide(call(workflow="vital")).allowed
        the_gate.heard()
        assert the_gate.decide(call()).allowed


def test_commands_hold_to_their_end_while_the_feed_is_silent() -> None:
    the_gate, clock = gate(stale_after_s=30)
    the_gate.obey(command(lasts_s=120))
    clock.advance(119)
    assert not the_gate.decide(call()).allowed
    clock.advance(1)
    assert the_gate.decide(call()).allowed


def test_the_switch_and_exempt_workflows_let_calls_pass_and_count_them() -> None:
    the_gate, _ = gate(exempt_workflows=frozenset({"vital"}))
    for name in ("w", "vital"):
        the_gate.obey(command(value=name))
    the_gate.take(snapshot(kind="organisation", value=None, limit=100))
    assert the_gate.decide(call(workflow="vital")).allowed
    the_gate.enforcing = False
    decision = the_gate.decide(call())
    assert decision.allowed
    the_gate.settle(decision.ticket, 60)
    assert the_gate.left("b") == 40


def test_threads_that_ask_at_once_are_let_through_no_more_often_than_a_trace_may_call() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Cap(max_calls_per_trace=100)))
    allowed: list[int] = []

    def ask() -> None:
        allowed.append(sum(the_gate.decide(call()).allowed for _ in range(200)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 100


def test_a_message_of_a_block_is_what_the_client_reads() -> None:
    the_gate, _ = gate()
    the_gate.obey(command(action=Block(message="Ask #ai-ops.")))
    rejection = the_gate.decide(call()).rejection
    assert rejection is not None
    assert rejection.body()["error"]["message"] == "Ask #ai-ops."

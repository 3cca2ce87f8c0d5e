"""The demo's gateway obeys the contract of throttle commands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import validate
from schemas.throttles import ThrottleCommand
from service.demo.call import Call
from service.demo.gateway import Gateway

NOW = 1_790_000_000.0
BLOCK = {"action": "block", "message": "stop"}
TRACE = {"kind": "trace", "value": "run-1", "workflow": "support-agent"}


def command(sequence: int = 1, **changed: Any) -> ThrottleCommand:
    document = {
        "command_id": f"c-{sequence}",
        "scope": TRACE,
        "action": BLOCK,
        "reason": "test",
        "mode": "enforce",
        "issued_at": NOW,
        "expires_at": NOW + 600,
        "sequence": sequence,
    }
    return validate(ThrottleCommand, document | changed)


def call(at: float = NOW + 1, **changed: Any) -> Call:
    given: dict[str, Any] = {
        "workflow": "support-agent",
        "team": "care",
        "feature": "triage",
        "customer": "care-001",
        "api_key": "key-1",
        "gateway": "g",
        "provider": "anthropic",
        "model": "claude-opus-4-5",
        "trace_id": "run-1",
        "session_id": "s",
        "tokens_in": 10,
        "tokens_out": 500,
    }
    return Call(at=at, **(given | changed))


@pytest.mark.parametrize(
    ("kind", "value"), [("feature", "triage"), ("environment", "production"), ("organisation", "o")]
)
def test_wider_scopes_are_blocked_too(kind: str, value: str) -> None:
    gateway = Gateway()
    gateway.obey(command(scope={"kind": kind, "value": value}), NOW)
    assert not gateway.admit(call())
    assert gateway.admit(call(feature="other")) == (kind == "feature")


def test_a_blocked_trace_is_rejected_and_no_other_is() -> None:
    gateway = Gateway()
    assert gateway.obey(command(), NOW) == ("applied", None)
    assert not gateway.admit(call())
    assert gateway.admit(call(trace_id="run-2"))
    assert gateway.admit(call(workflow="chat"))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("workflow", "support-agent"),
        ("customer", "care-001"),
        ("team", "care"),
        ("api_key", "key-1"),
        ("model", "claude-opus-4-5"),
    ],
)
def test_every_kind_of_scope_finds_its_calls(kind: str, value: str) -> None:
    gateway = Gateway()
    gateway.obey(command(scope={"kind": kind, "value": value}), NOW)
    assert not gateway.admit(call())
    other: dict[str, Any] = {kind: "another"}
    assert gateway.admit(call(**other))


def test_a_dry_run_is_answered_and_changes_nothing() -> None:
    gateway = Gateway()
    assert gateway.obey(command(mode="dry_run"), NOW)[0] == "ignored"
    assert gateway.admit(call())


def test_a_command_binds_until_it_expires_in_event_time() -> None:
    gateway = Gateway()
    gateway.obey(command(), NOW)
    assert not gateway.admit(call(NOW + 599))
    assert gateway.admit(call(NOW + 600))
    assert gateway.obey(command(2), NOW + 601)[0] == "expired"


@given(st.permutations([1, 2, 3, 4]))
def test_the_highest_sequence_wins_in_whatever_order_they_arrive(order: list[int]) -> None:
    gateway = Gateway()
    for sequence in order:
        action = BLOCK if sequence < 4 else {"action": "release"}
        gateway.obey(command(sequence, action=action), NOW)
    assert gateway.admit(call())
    assert gateway.active == []


def test_a_cap_bounds_output_and_calls_per_trace() -> None:
    gateway = Gateway()
    cap = {"action": "cap", "max_output_tokens": 100, "max_calls_per_trace": 2}
    gateway.obey(command(scope={"kind": "workflow", "value": "support-agent"}, action=cap), NOW)
    first = call()
    assert gateway.admit(first)
    assert first.tokens_out == 100
    assert gateway.admit(call())
    assert not gateway.admit(call())
    assert gateway.admit(call(trace_id="run-2"))


def test_a_downgrade_makes_the_call_with_the_other_model() -> None:
    gateway = Gateway()
    downgrade = {"action": "downgrade", "fallback_model": "gemini-2.5-flash"}
    gateway.obey(command(action=downgrade), NOW)
    made = call()
    assert gateway.admit(made)
    assert (made.provider, made.model) == ("google", "gemini-2.5-flash")
    unknown = command(2, action={"action": "downgrade", "fallback_model": "llama"})
    assert gateway.obey(unknown, NOW)[0] == "unsupported"


@given(rate=st.floats(0.5, 20), calls_per_s=st.floats(1, 50))
def test_slowing_lets_no_more_through_than_its_rate(rate: float, calls_per_s: float) -> None:
    gateway = Gateway()
    gateway.obey(command(action={"action": "slow", "max_rps": rate}), NOW)
    made = sum(gateway.admit(call(NOW + n / calls_per_s)) for n in range(round(20 * calls_per_s)))
    assert made <= 20 * rate + max(rate, 1.0) + 1


def test_what_the_gateway_is_told_about_time_is_utc() -> None:
    assert command().expires_at == datetime.fromtimestamp(NOW + 600, UTC)

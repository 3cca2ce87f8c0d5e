"""What is decided over HTTP is what the gate decides for a Python gateway."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import Call, Decision, Gate, GatePolicy, Ticket
from schemas.throttles import Action, Cap, Downgrade, Slow
from service.decisions.question import MAX_BATCH, Invalid, Malformed, Questions, Settlements, read, verdict
from service.decisions.tickets import Tickets
from tests.gateway.clock import HandClock
from tests.gateway.records import STOP, command, snapshot
from tests.service.decisions.support import open_api

LIMITS: list[tuple[Action, Any, str]] = [
    (STOP, "workflow", "looping"),
    (Cap(max_output_tokens=100, max_calls_per_trace=3), "workflow", "w"),
    (Downgrade(fallback_model="small"), "team", "care"),
    (Slow(max_rps=0.5), "customer", "acme"),
    (Cap(max_output_tokens=50), "model", "small"),
]


def limit(gate: Gate) -> None:
    """The same limits for every gate."""
    for number, (action, kind, value) in enumerate(LIMITS, start=1):
        gate.obey(command(number, action, kind, value))
    gate.take(snapshot(1, limit=1_000, spent=100, reserve=150))


def names(*known: str) -> st.SearchStrategy[str]:
    return st.sampled_from([*known, "other"])


calls = st.fixed_dictionaries(
    {"model": names("big", "small")},
    optional={
        "workflow": names("w", "looping"),
        "trace_id": names("t1", "t2"),
        "customer": names("acme"),
        "team": names("care"),
        "max_output_tokens": st.integers(1, 200),
        "estimate_nanos": st.integers(0, 400) | st.none(),
    },
)


def told(decision: Decision) -> dict[str, Any]:
    """A decision as the API tells it, but for the ticket's name."""
    rejection = decision.rejection
    return {
        "action": decision.action,
        "delay_s": decision.delay_s,
        "model": decision.model,
        "max_output_tokens": decision.max_output_tokens,
        "rejection": rejection
        and {"status": rejection.status, "code": rejection.code, "body": rejection.body()},
        "ticket": decision.ticket is not None,
    }


@given(asked=st.lists(calls, min_size=1, max_size=20))
@settings(max_examples=30)
async def test_any_batch_is_decided_as_the_library_decides_its_calls_one_by_one(
    asked: list[dict[str, Any]],
) -> None:
    gate = Gate("library", clock=HandClock())
    limit(gate)
    library = [told(gate.decide(Call(**call))) for call in asked]
    async with open_api() as here:
        limit(here.gate)
        decisions = await here.ask(*asked)
    assert [{**d, "ticket": d["ticket"] is not None} for d in decisions] == library


@given(
    steps=st.lists(
        st.tuples(st.just("ask"), st.integers(0, 400) | st.none())
        | st.tuples(st.just("settle"), st.integers(0, 400))
        | st.tuples(st.just("wait"), st.integers(0, 40)),
        max_size=40,
    )
)
@settings(max_examples=20)
async def test_whatever_is_asked_and_settled_leaves_of_a_budget_what_the_library_leaves(
    steps: list[tuple[str, int | None]],
) -> None:
    clock = HandClock()
    gate = Gate("library", GatePolicy(reservation_s=60), clock=clock)
    gate.take(snapshot(1, limit=2_000, reserve=150))
    tickets: list[tuple[Ticket | None, str]] = []
    async with open_api(reservation_s=60) as here:
        here.gate.take(snapshot(1, limit=2_000, reserve=150))
        for what, amount in steps:
            if what == "ask":
                call = {"model": "m", "workflow": "w", "estimate_nanos": amount}
                (decision,), library = await here.ask(call), gate.decide(Call(**call))  # type: ignore[arg-type]
                assert (decision["ticket"] is None) == (library.ticket is None)
                tickets.append((library.ticket, decision["ticket"] or "none"))
            elif what == "settle" and tickets:
                ticket, name = tickets[len(tickets) // 2]  # the same one again and again, too
                settled = gate.settle(ticket, amount or 0)
                assert await here.settle({"ticket": name, "cost_nanos": amount}) == [settled]
            elif what == "wait":
                clock.advance(amount or 0)
                here.clock.advance(amount or 0)
            assert here.gate.left("b") == gate.left("b")


async def test_a_rejection_has_a_body_to_answer_the_caller_with() -> None:
    async with open_api() as here:
        here.gate.obey(command(7, STOP))
        (decision,) = await here.ask({"model": "m", "workflow": "w"})
    assert decision["rejection"] == {
        "status": 403,
        "code": "throttled",
        "body": {
            "error": {
                "message": "Stopped: a loop.",
                "type": "tidegate_rejection",
                "param": None,
                "code": "throttled",
                "scope": "workflow:w",
                "command_id": "c7",
            }
        },
    }


async def test_a_ticket_is_settled_once_and_its_cost_counts() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        first, second, third = await here.ask(*[{"model": "m", "workflow": "w"}] * 3)
        assert third["rejection"]["code"] == "budget_exhausted"
        assert third["ticket"] is None
        assert here.gate.left("b") == 200
        settlements = [
            {"ticket": "never-heard-of"},
            {"ticket": second["ticket"], "cost_nanos": 300},
            {"ticket": second["ticket"], "cost_nanos": 300},
            {"ticket": first["ticket"]},
        ]
        assert await here.settle(*settlements) == [False, True, False, True]
        assert here.gate.left("b") == 700
        assert len(here.desk.tickets) == 0


async def test_what_nobody_settles_is_given_up_and_counts_when_it_is_settled_after_all() -> None:
    async with open_api(reservation_s=60) as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        (decision,) = await here.ask({"model": "m", "workflow": "w"})
        here.clock.advance(61)
        here.gate.heard()
        assert here.gate.left("b") == 1_000
        assert await here.settle({"ticket": decision["ticket"], "cost_nanos": 250}) == [True]
        assert here.gate.left("b") == 750


async def test_a_batch_with_a_call_that_cannot_be_read_decides_nothing() -> None:
    async with open_api() as here:
        here.gate.take(snapshot(1, limit=1_000, reserve=400))
        answer = await here.client.post(
            "/v1/decisions", json={"calls": [{"model": "m", "workflow": "w"}, {}]}
        )
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:tidegate:decisions:invalid"
        assert "`model`" in answer.json()["detail"]
        assert "calls[1]" in answer.json()["detail"]
        assert here.gate.left("b") == 1_000


@pytest.mark.parametrize(
    "call",
    [
        {"model": "m", "trace": "t"},  # trace_id is meant: a cap on the trace must not pass it by
        {"model": ""},
        {"model": "m" * 201},
        {"model": 1},
        {"model": "m", "workflow": None},
        {"model": "m", "max_output_tokens": 0},
        {"model": "m", "estimate_nanos": -1},
        {"model": "m", "estimate_nanos": 1.5},
        {"model": "m", "estimate_nanos": 2**63},
        {"model": "m", "estimate_tokens": True},
    ],
)
def test_a_call_that_is_not_what_was_agreed_is_refused(call: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"calls\[0\]"):
        read(Questions, json.dumps({"calls": [call]}).encode())


def test_a_whole_number_may_be_written_with_a_point() -> None:
    body = b'{"calls":[{"model":"m","max_output_tokens":500.0,"estimate_nanos":1e3}]}'
    (call,) = read(Questions, body).calls
    assert (call.max_output_tokens, call.estimate_nanos) == (500, 1_000)
    assert isinstance(call.estimate_nanos, int)


def test_a_batch_has_an_end() -> None:
    assert (
        len(read(Questions, json.dumps({"calls": [{"model": "m"}] * MAX_BATCH}).encode()).calls) == MAX_BATCH
    )
    for count in (0, MAX_BATCH + 1):
        with pytest.raises(Invalid):
            read(Questions, json.dumps({"calls": [{"model": "m"}] * count}).encode())


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_are_a_bug(body: bytes) -> None:
    for kind in (Questions, Settlements):
        with pytest.raises((Invalid, Malformed)):
            read(kind, body)


def test_nesting_without_end_is_refused() -> None:
    for body in (b"[" * 100_000, b'{"calls":' * 100_000):
        with pytest.raises((Invalid, Malformed)):
            read(Questions, body)


def test_with_one_ticket_too_many_the_oldest_is_forgotten() -> None:
    gate = Gate("g", clock=HandClock())
    gate.take(snapshot(1, limit=1_000))
    tickets = Tickets(2)
    given = [gate.decide(Call(model="m", workflow="w")).ticket for _ in range(3)]
    known = [tickets.give(ticket) for ticket in given if ticket is not None]
    assert len(set(known)) == 3
    assert [tickets.take(name) is not None for name in known] == [False, True, True]
    assert tickets.forgotten == 1


def test_a_verdict_on_a_call_that_nothing_holds_back_is_plain() -> None:
    assert told(Decision()) == {
        "action": "allow",
        "delay_s": 0.0,
        "model": None,
        "max_output_tokens": None,
        "rejection": None,
        "ticket": False,
    }
    assert verdict(Decision(), None).action == "allow"


async def test_a_gate_that_does_not_enforce_lets_everything_pass() -> None:
    async with open_api(enforce=False) as here:
        limit(here.gate)
        (decision,) = await here.ask({"model": "m", "workflow": "looping"})
        assert decision["action"] == "allow"


@pytest.mark.parametrize(("on_stale", "action"), [("open", "allow"), ("closed", "reject")])
async def test_when_the_broker_is_silent_the_settings_say_what_happens(on_stale: str, action: str) -> None:
    async with open_api(on_stale=on_stale, stale_after_s=30) as here:
        here.clock.advance(31)
        (decision,) = await here.ask({"model": "m"})
        assert decision["action"] == action


async def test_a_packed_body_is_read() -> None:
    async with open_api() as here:
        body = gzip.compress(json.dumps({"calls": [{"model": "m"}]}).encode())
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = await here.client.post("/v1/decisions", content=body, headers=headers)
        assert answer.status_code == 200

"""What the feed makes of single records, without a broker."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway import Call, Connection, Feed, Gate
from schemas.throttles import ThrottleAck
from tests.gateway.clock import HandClock
from tests.gateway.records import command, snapshot

CALL = Call(model="m", workflow="w")
_AN_HOUR = timedelta(hours=1)


@pytest.fixture
def told() -> tuple[Feed, Gate, list[ThrottleAck]]:
    gate = Gate("gw", clock=HandClock())
    feed = Feed(Connection(topic_prefix="t."), gate)
    acks: list[ThrottleAck] = []
    feed._answers.acknowledge = lambda ack: bool(acks.append(ack))  # type: ignore[method-assign,func-returns-value]
    return feed, gate, acks


def record(topic: str, value: bytes | None, key: bytes = b"k") -> Any:
    return SimpleNamespace(topic=topic, value=value, key=key, offset=7)


def test_a_command_of_a_later_contract_is_answered_as_unsupported_and_what_held_goes_on(
    told: tuple[Feed, Gate, list[ThrottleAck]],
) -> None:
    feed, gate, acks = told
    feed._take(record("t.throttle-commands", command(1).to_json()), caught_up=True)
    later = orjson.loads(command(2).to_json()) | {"action": {"action": "ask", "whom": "ops"}}
    feed._take(record("t.throttle-commands", orjson.dumps(later)), caught_up=True)
    assert [(ack.command_id, ack.result) for ack in acks] == [("c1", "applied"), ("c2", "unsupported")]
    assert not gate.decide(CALL).allowed


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[1]", b'{"command_id": 3}', b'{"command_id": "a\\nb"}', b"{}"]
)
def test_what_cannot_even_be_named_is_counted_and_not_answered(
    told: tuple[Feed, Gate, list[ThrottleAck]], value: bytes
) -> None:
    feed, _, acks = told
    feed._take(record("t.throttle-commands", value), caught_up=True)
    feed._take(record("t.budgets", value), caught_up=True)
    assert feed.counts()["refused"] == 2
    assert acks == []


def test_while_catching_up_only_what_holds_now_is_answered(
    told: tuple[Feed, Gate, list[ThrottleAck]],
) -> None:
    feed, _, acks = told
    for sequence, lasts_s in ((3, 600.0), (2, 600.0), (9, 0.001)):
        value = "v" if sequence == 9 else "w"
        said = command(
            sequence, value=value, lasts_s=lasts_s, issued_at=HandClock().wall - _AN_HOUR * (sequence == 9)
        )
        feed._take(record("t.throttle-commands", said.to_json()), caught_up=False)
    assert [(ack.command_id, ack.result) for ack in acks] == [("c3", "applied")]


def test_a_tombstone_ends_a_budget_and_no_command(told: tuple[Feed, Gate, list[ThrottleAck]]) -> None:
    feed, gate, _ = told
    feed._take(record("t.budgets", snapshot(spent=1_000).to_json(), b"b"), caught_up=True)
    assert not gate.decide(CALL).allowed
    feed._take(record("t.budgets", None, b"b"), caught_up=True)
    assert gate.decide(CALL).allowed
    feed._take(record("t.throttle-commands", command(1).to_json()), caught_up=True)
    feed._take(record("t.throttle-commands", None), caught_up=True)
    assert not gate.decide(CALL).allowed

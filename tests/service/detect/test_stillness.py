"""A gateway that goes silent is told of as time passes, once, and is over when it publishes again."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.alerts import Alert
from schemas.rollups import Rollup, scope_key, scope_name
from service.detect.desk import Desk
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import NEVER, Moment, due, step
from service.replay import Replay
from service.rules.config import ConfigBook
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, played, rollup, tick
from tests.service.detect.test_quality import tuned

KEY = scope_key("gateway", "eu-1")
DAY = 86_400
DAYS = 6
STOPS = T0 + DAYS * DAY
_EVERY = 6
"""Buckets between two calls: enough to be dense, and few enough to be quick."""


def pulse(start: int, calls: int = 5, **more: Any) -> Rollup:
    """What ingest sends of a gateway once a bucket is over."""
    made = rollup(start, [Doing(None, calls)], workflow=scope_name("gateway", "eu-1"))
    fields = made.model_dump() | {"type": "scope", "scope": {"kind": "gateway", "value": "eu-1"}}
    return Rollup.model_validate(fields | more)


def published(start: int, until: int, seed: int = 1) -> Iterator[Rollup | Moment]:
    dice = random.Random(seed)
    for at in range(start, until, _EVERY * BUCKET):
        begins = at + BUCKET * dice.randrange(_EVERY)
        yield pulse(begins)
        yield Moment(float(begins + BUCKET))


def known() -> bytes:
    state = WorkflowState.fresh(KEY)
    assert played(state, published(T0, STOPS)) == []
    return encode(state)


@pytest.fixture(scope="module")
def regular() -> bytes:
    return known()


def waited(state: WorkflowState, seconds: float, book: ConfigBook = BOOK) -> list[Alert]:
    """What time alone brings, woken when it asks to be."""
    found: list[Alert] = []
    until = state.now + seconds
    while (at := due(state, book)) <= until:
        found += step(state, Moment(max(at, state.now)), book).alerts
        if due(state, book) <= state.now:
            step(state, Moment(state.now + BUCKET), book)
    return found


def test_a_gateway_that_stops_is_a_ticket_within_the_hour(regular: bytes) -> None:
    state = decode(regular)
    found = waited(state, 3_600)
    assert {(a.kind, a.severity, a.verdict.detector) for a in found} == {
        ("data_quality", "warning", "data_quality.silence")
    }
    assert len({a.fingerprint for a in found}) == 1
    first = found[0]
    assert first.workflow == "gateway eu-1"
    assert first.scope is not None
    assert first.scope.key == KEY
    assert first.fired_at is not None
    assert STOPS - 120 <= first.started_at.timestamp() <= STOPS + 60
    assert 300 <= first.fired_at.timestamp() - first.started_at.timestamp() <= 1_800
    assert not first.pages


def test_its_sentence_says_how_long_what_is_usual_and_what_may_be_unseen(regular: bytes) -> None:
    first = waited(decode(regular), 3_600)[0]
    assert first.summary == (
        "gateway eu-1, since 00:00 UTC: no call for 5 min, where more than 5 min is unusual at this time"
        " of day; about $0.050 is usually spent in such a time. Check that it runs, and that what it publishes"
        " arrives."
    )


def test_it_is_over_minutes_after_calls_come_again(regular: bytes) -> None:
    state = decode(regular)
    waited(state, 3_600)
    found: list[Alert] = []
    for _, effects in played(state, published(STOPS + 3_600, STOPS + 4_800, seed=2)):
        found += effects.alerts
    assert [a.status for a in found].count("resolved") == 1
    assert found[-1].status == "resolved"
    assert found[-1].resolved_at is not None
    assert found[-1].resolved_at.timestamp() - (STOPS + 3_600) < 900
    assert state.incidents == {}


def test_a_gateway_that_never_comes_back_is_not_told_for_ever(regular: bytes) -> None:
    state = decode(regular)
    book = tuned(repeat_s=7_000.0)
    found = waited(state, 5 * DAY, book)
    assert found[-1].status == "resolved"
    assert found[-1].updated_at.timestamp() - STOPS < 3.2 * DAY
    assert due(state, book) == NEVER


def test_a_pause_that_is_usual_is_not_told(regular: bytes) -> None:
    state = decode(regular)
    assert waited(state, 240) == []
    assert state.now < STOPS + 240


def test_a_new_gateway_may_stop_as_it_likes() -> None:
    state = WorkflowState.fresh(KEY)
    played(state, published(T0, T0 + DAY))
    assert waited(state, DAY) == []


@pytest.mark.parametrize("settings", [{"enabled": False}, {"data_quality_share": 0.0}])
def test_it_can_be_switched_off(regular: bytes, settings: dict[str, Any]) -> None:
    assert waited(decode(regular), DAY, tuned(**settings)) == []


def test_what_a_gateway_usually_does_survives_its_codec(regular: bytes) -> None:
    kept, carried = decode(regular), decode(encode(decode(regular)))
    assert due(carried, BOOK) == due(kept, BOOK) > STOPS
    assert [a.to_json() for a in waited(carried, 1_800)] == [a.to_json() for a in waited(kept, 1_800)]
    assert len(regular) < 8_192


def test_a_workflow_that_stops_is_not_a_silent_gateway(regular: bytes) -> None:
    state = WorkflowState.fresh("chat")
    assert "silence" not in state.detectors
    assert "silence" in decode(regular).detectors


def test_unpriced_calls_teach_when_it_publishes_as_well() -> None:
    state = WorkflowState.fresh(KEY)
    for record in published(T0, STOPS):
        if isinstance(record, Rollup):
            record = record.model_copy(update={"unpriced_calls": 5, "cost_nanos": 0})
        step(state, record, BOOK)
    assert len({a.fingerprint for a in waited(state, 3_600)}) == 1


def test_a_desk_wakes_a_silent_gateway_by_ticks_alone(regular: bytes) -> None:
    states = {KEY: decode(regular)}
    states[KEY].applied[0] = 7
    desk = Desk(0, states.get)
    desk.adopt(states.values(), BOOK)
    found: list[Alert] = []
    for at in range(STOPS, STOPS + 3_600, 60):
        applied = desk.apply(tick(float(at)), at, float(at), BOOK)
        found += applied.effects.alerts
    assert found
    assert len({a.fingerprint for a in found}) == 1


def test_from_events_to_the_ticket_while_others_go_on() -> None:
    """Two gateways serve one workflow; one stops: the workflow has no incident, the gateway has one."""
    replay, told = Replay(ConfigBook.empty()), []
    for minute in range(0, (DAYS * DAY + 3_600) // 60, 4):
        at = T0 + minute * 60
        for gateway, until in (("eu-1", STOPS), ("us-1", STOPS + DAY)):
            if at < until:
                event = {
                    "event_id": f"{gateway}-{minute}",
                    "occurred_at": at + hash_of(gateway, minute) % 230,
                    "workflow": "chat",
                    "gateway": gateway,
                    "provider": "openai",
                    "model": "gpt-4o",
                    "cost_usd": "0.0025",
                    "input_tokens": 1_000,
                }
                if (effects := replay.feed(json.dumps(event).encode())) is not None:
                    told += effects.alerts
    assert {(a.workflow, a.verdict.detector, a.severity) for a in told} == {
        ("gateway eu-1", "data_quality.silence", "warning")
    }
    first = told[0]
    assert first.fired_at is not None
    assert first.fired_at.timestamp() - STOPS < 1_800


def hash_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())

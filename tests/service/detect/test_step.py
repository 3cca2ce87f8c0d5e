"""One record into one state: the same records give the same bytes, wherever the worker stops and starts."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollups import Rollup
from service.detect.state import WorkflowState, decode, encode
from service.detect.step import NEVER, Effects, Moment, due, step
from service.rules.config import ConfigBook
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, played, rollup

Record = Rollup | Moment


def tuned(**fields: Any) -> ConfigBook:
    record = {"kind": "tuning", "name": "t", "settings": fields}
    return BOOK.apply("tuning/t", json.dumps(record).encode(), 0)


def written(told: list[tuple[float, Effects]]) -> bytes:
    return b"\n".join(record.to_json() for _, effects in told for record in effects.alerts)


def eventful(seed: int, buckets: int = 120) -> list[Record]:
    """Traffic with a loop, a launch, silence and late deltas in it."""
    dice = random.Random(seed)
    flow = Traffic(starts=1.5, seed=seed)
    found: list[Record] = []
    start = T0
    loop = Doing("loop", 50, 3_000_000_000, 30_000, "acme", "big", "k")
    for part in ("calm", "loop", "calm", "launch", "silence", "calm"):
        n = dice.randint(5, buckets // 4)
        if part != "silence":
            extra = [[loop]] * n if part == "loop" else []
            found += flow.records(start, n, volume=20.0 if part == "launch" else 1.0, extra=extra)
        start += n * BUCKET
    for _ in range(10):
        late = dice.randrange(len(found))
        found.insert(
            late, rollup(T0 + dice.randint(0, late // 3) * BUCKET, [Doing("late", 2, 5_000)], late=2)
        )
    return found


@settings(deadline=None, max_examples=settings().max_examples // 6)
@given(st.integers(0, 10**6))
def test_the_same_records_give_the_same_bytes(seed: int) -> None:
    records = eventful(seed)
    one, other = WorkflowState.fresh("support-agent"), WorkflowState.fresh("support-agent")
    assert written(played(one, records)) == written(played(other, records))
    assert encode(one) == encode(other)


@settings(deadline=None, max_examples=settings().max_examples // 6)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_a_restart_between_any_two_records_changes_nothing(seed: int, dice: random.Random) -> None:
    """The table encodes whatever changed, which sheds what a launch makes too large: in both, restart or not."""
    records = eventful(seed)
    kept, carried = WorkflowState.fresh("support-agent"), WorkflowState.fresh("support-agent")
    told_kept, told_carried = [], []
    for record in records:
        told_kept += played(kept, [record])
        told_carried += played(carried, [record])
        data = encode(carried)
        assert encode(kept) == data
        if dice.random() < 0.2:
            carried = decode(data)
    assert written(told_kept) == written(told_carried)
    assert encode(kept) == encode(carried)
    assert kept.totals.cost == sum(r.cost_nanos for r in records if isinstance(r, Rollup))


@settings(deadline=None, max_examples=settings().max_examples // 6)
@given(st.integers(0, 10**6))
def test_a_moment_that_is_told_again_changes_nothing(seed: int) -> None:
    """A desk that reads its ticks again must come to the same states."""
    records = eventful(seed)
    once, twice = WorkflowState.fresh("support-agent"), WorkflowState.fresh("support-agent")
    for record in records:
        step(once, record, BOOK)
        step(twice, record, BOOK)
        if isinstance(record, Moment):
            assert not step(twice, record, BOOK)
            assert not step(twice, Moment(record.watermark - 600.0), BOOK)
    assert encode(once) == encode(twice)


@settings(deadline=None, max_examples=settings().max_examples // 6)
@given(st.integers(0, 10**6))
def test_nothing_waits_that_a_moment_could_do(seed: int) -> None:
    state = WorkflowState.fresh("support-agent")
    for record in eventful(seed):
        step(state, record, BOOK)
        if isinstance(record, Moment):
            assert due(state, BOOK) > record.watermark
    for _ in range(200):
        at = due(state, BOOK)
        if at == NEVER:
            break
        step(state, Moment(at), BOOK)
        assert due(state, BOOK) > at
    assert due(state, BOOK) == NEVER
    assert (state.incidents, state.traces) == ({}, {})


def test_a_new_state_waits_for_nothing() -> None:
    assert due(WorkflowState.fresh("w"), BOOK) == NEVER
    assert math.isinf(NEVER)


def test_learning_waits_until_time_has_passed_the_bucket() -> None:
    state = WorkflowState.fresh("support-agent")
    fresh = {n: d.dump() for n, d in state.detectors.items()}
    step(state, rollup(T0, [Doing("a")]), BOOK)
    step(state, Moment(T0 + 9.9), BOOK)
    assert {n: d.dump() for n, d in state.detectors.items()} == fresh
    step(state, Moment(T0 + 10.0), BOOK)
    assert {n: d.dump() for n, d in state.detectors.items()} != fresh
    assert state.buckets[0].sketch == b""


DEAR = Doing("run", 80, 40_000_000_000, 200_000, "acme")


def test_a_workflow_that_is_disabled_is_watched_and_not_told_of() -> None:
    state = WorkflowState.fresh("support-agent")
    told = played(state, [rollup(T0, [DEAR]), Moment(T0 + 30.0)], tuned(enabled=False))
    assert told == []
    assert state.totals.cost == DEAR.cost
    assert state.buckets[0].closed


def test_disabling_ends_what_is_going_on() -> None:
    state = WorkflowState.fresh("support-agent")
    assert played(state, [rollup(T0, [DEAR])])
    records = [rollup(T0 + i * BUCKET, [DEAR]) for i in range(1, 60)]
    told = played(state, records, tuned(enabled=False))
    statuses = [a.status for _, e in told for a in e.alerts]
    assert statuses[-1] == "resolved"


def test_a_changed_tuning_holds_from_the_next_record_on() -> None:
    state = WorkflowState.fresh("support-agent")
    deaf = tuned(trace_min_usd="1000")
    assert not step(state, rollup(T0, [DEAR]), deaf)
    assert step(state, rollup(T0, [Doing("run", 1, 1)]), BOOK).alerts


def test_an_alert_names_the_version_that_judged_it() -> None:
    state = WorkflowState.fresh("support-agent")
    book = tuned(repeat_s=1.0)
    (alert,) = step(state, rollup(T0, [DEAR]), book).alerts
    assert alert.config_version == book.version
    (again,) = step(state, rollup(T0 + 6 * BUCKET, [DEAR]), book.apply("tuning/t", None, 1)).alerts
    assert again.config_version == "defaults"


def test_a_condition_that_must_hold_fires_only_then() -> None:
    state = WorkflowState.fresh("support-agent")
    book = tuned(pending_s=30.0)
    told = []
    for i in range(6):
        told += played(state, [rollup(T0 + i * BUCKET, [DEAR]), Moment(T0 + i * BUCKET + 5.0)], book)
    (first, *_) = [a for _, e in told for a in e.alerts]
    assert first.fired_at is not None
    assert first.fired_at.timestamp() >= T0 + 30.0
    assert first.started_at.timestamp() == T0


def test_an_incident_of_more_than_a_day_becomes_the_usual() -> None:
    """What lasts is learnt: after a day of it the baseline moves, and the alert ends by itself."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=1.0, deltas=1)
    played(state, flow.records(T0, 2_000))
    flow.cost *= 5
    start = T0 + 2_000 * BUCKET
    told = played(state, flow.records(start, 2 * 8_640))
    alerts = [a for _, e in told for a in e.alerts if a.severity == "critical"]
    assert alerts
    assert alerts[-1].status == "resolved"
    assert alerts[-1].updated_at.timestamp() - start < 2 * 86_400


@pytest.mark.parametrize("n", [1, 7])
def test_silence_costs_nothing(n: int) -> None:
    state = WorkflowState.fresh("support-agent")
    step(state, rollup(T0, [Doing("a", n)]), BOOK)
    step(state, Moment(T0 + 86_400.0), BOOK)
    before = encode(state)
    assert due(state, BOOK) == NEVER
    assert not step(state, Moment(T0 + 86_400.0), BOOK)
    assert encode(state) == before

"""The codec of the state: nothing is lost, nothing strange is read, and it never outgrows its caps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.protocol import Contribution, Score, Window
from detectors.registry import DETECTORS
from schemas.rollups import Rollup
from service.detect import state as module
from service.detect.bucket import Bucket, Crowd
from service.detect.quality import Fault, Quality
from service.detect.state import Totals, UnreadableState, WorkflowState, decode, encode, shed
from service.detect.step import Moment, step
from service.detect.traces import LeftOut, TraceTotals
from service.detect.usual_shares import UsualShares
from service.errors import StateTooLarge
from service.rules.lifecycle import Incident
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, Traffic, rollup

LONG = "ü" * 190
SOFT, HARD = 16_384, 65_536


def lived(buckets: int = 40, *, loop: int = 12, **traffic: Any) -> WorkflowState:
    """A state with all there is in one: incidents, ended traces, late buckets, shares."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(**traffic)
    for record in flow.records(T0, buckets):
        step(state, record, BOOK)
    dear = [[Doing("loop", 40, 9_000_000_000, 90_000, "acme")]] * loop
    for record in flow.records(T0 + buckets * BUCKET, loop, extra=dear):
        step(state, record, BOOK)
    state.applied = {0: 100, 3: 7}
    return state


def test_everything_survives_encoding() -> None:
    state = lived()
    assert state.incidents
    assert state.traces
    again = decode(encode(state))
    assert encode(again) == encode(state)
    for name in WorkflowState.__struct_fields__:
        if name in ("detectors", "tuned_by"):
            continue
        assert getattr(again, name) == getattr(state, name), name
    assert {n: d.dump() for n, d in again.detectors.items()} == {
        n: d.dump() for n, d in state.detectors.items()
    }


def test_every_field_is_stored_or_said_not_to_be() -> None:
    assert set(WorkflowState.__struct_fields__) - set(module._Stored.__struct_fields__) == {"tuned_by"}


@settings(max_examples=settings().max_examples // 3, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 10**15), st.booleans(), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_encoding_between_any_two_records_changes_nothing(steps: list[tuple[int, int, bool, bool]]) -> None:
    kept, carried = WorkflowState.fresh("support-agent"), WorkflowState.fresh("support-agent")
    now = T0
    for i, (gap, cost, late, moment) in enumerate(steps):
        now += gap * BUCKET
        start = now - 120 if late else now
        record: Rollup | Moment = (
            Moment(float(now)) if moment else rollup(start, [Doing(f"t{i % 3}", 3, cost, customer="acme")])
        )
        assert step(carried, record, BOOK).alerts == step(kept, record, BOOK).alerts
        carried = decode(encode(carried))
    assert encode(carried) == encode(kept)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x7f\x90", b"\xff" * 100])
def test_another_version_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableState, match="state version"):
        decode(data)


def test_a_state_that_is_cut_anywhere_is_unreadable() -> None:
    data = encode(lived(12))
    for end in range(1, len(data), max(1, len(data) // 400)):
        with pytest.raises(UnreadableState):
            decode(data[:end])
    with pytest.raises(UnreadableState):
        decode(data + b"\xc0")


DATA = encode(lived(12))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, len(DATA) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_unreadable_or_a_state(damage: list[tuple[int, int]]) -> None:
    data = bytearray(DATA)
    for where, value in damage:
        data[where] = value
    try:
        state = decode(bytes(data))
    except UnreadableState:
        return
    assert isinstance(state, WorkflowState)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_unreadable(data: bytes) -> None:
    for first in (b"\x01", b"\x02"):
        with pytest.raises(UnreadableState):
            decode(first + data)


def test_a_nested_bomb_is_unreadable() -> None:
    stored = msgspec.msgpack.decode(DATA[1:])
    stored[module._Stored.__struct_fields__.index("detectors")] = {"unit_cost": None}
    head = msgspec.msgpack.encode(stored)
    bomb = head.replace(b"\xa9unit_cost\xc0", b"\xa9unit_cost" + b"\x91" * 100_000 + b"\xc0")
    assert len(bomb) > 100_000
    with pytest.raises(UnreadableState):
        decode(DATA[:1] + bomb)


class Newcomer:
    """A detector that learns nothing."""

    name: ClassVar[str] = "newcomer"
    format: ClassVar[int] = 1

    def __init__(self, params: Any = None) -> None:
        self.params = params

    def learn(self, window: Window, *, frozen: bool = False) -> None:
        pass

    def score(self, window: Window) -> Score:
        return Score(0.0, 1.0)

    def explain(self, window: Window) -> Sequence[Contribution]:
        return []

    def dump(self) -> Any:
        return ["nothing"]

    @classmethod
    def load(cls, plain: Any, params: Any) -> Newcomer:
        assert plain == ["nothing"]
        return cls(params)


def test_a_detector_that_is_new_starts_fresh_and_one_that_is_gone_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(lived(12))
    monkeypatch.setitem(DETECTORS, "newcomer", Newcomer)
    with_it = decode(data)
    assert with_it.detectors["newcomer"].dump() == Newcomer().dump()
    stored = encode(with_it)
    monkeypatch.delitem(DETECTORS, "newcomer")
    assert set(decode(stored).detectors) == set(DETECTORS)
    assert encode(decode(stored)) == data


def test_a_field_that_is_new_has_its_default() -> None:
    stored = msgspec.msgpack.decode(DATA[1:])
    required = sum(f.required for f in msgspec.structs.fields(module._Stored))
    state = decode(DATA[:1] + msgspec.msgpack.encode(stored[:required]))
    assert state.totals == decode(DATA).totals
    newer = decode(DATA[:1] + msgspec.msgpack.encode([*stored, "of a later release"]))
    assert newer.totals == decode(DATA).totals


def test_bytes_of_a_release_that_knew_no_charges_are_read() -> None:
    """Written by that release, with a loop that fires: everything new has its default, and it goes on."""
    data = (Path(__file__).parent / "states" / "before_charges.bin").read_bytes()
    state = decode(data)
    assert (state.totals.calls, state.totals.cost, state.applied) == (299, 54_365_449_076, {0: 23})
    assert (state.totals.charges, state.totals.charge_cost) == (0, 0)
    assert state.shares["customer"]["acme"] == [240, 54_000_000_000, 0]
    assert (state.left_out, state.quality, state.crowd.windows) == (LeftOut(), Quality(), 0.0)
    assert {t.missed_nanos for t in state.traces.values()} == {0}
    assert {(b.customer_sketch, b.customers) for b in state.buckets} == {(b"", 0.0)}
    (fired,) = state.incidents.values()
    assert (fired.cost_before, fired.note) == (150_382_615, "")
    again = [Doing("loop", 40, 9_000_000_000, 90_000, "acme")]
    (alert,) = step(state, rollup(T0 + 20 * BUCKET, again), BOOK).alerts
    assert alert.fingerprint == fired.fingerprint
    assert alert.cost_nanos == state.totals.cost - 150_382_615
    assert encode(decode(encode(state))) == encode(state)


@pytest.mark.parametrize(
    "kind", [Bucket, Totals, TraceTotals, LeftOut, Quality, Fault, Crowd, UsualShares, Incident]
)
def test_a_part_that_grew_reads_what_was_shorter(kind: type[Any]) -> None:
    """Fields are added at the end, with a default: whatever an older release wrote of a part is the part."""
    found = msgspec.structs.fields(kind)
    assert kind.__struct_config__.array_like
    required = sum(f.required for f in found)
    assert all(f.required for f in found[:required])
    assert not any(f.required for f in found[required:])


def test_a_damaged_detector_makes_the_state_unreadable_and_says_which() -> None:
    stored = msgspec.msgpack.decode(DATA[1:])
    stored[module._Stored.__struct_fields__.index("detectors")][module._key(DETECTORS["live_trace"])] = [
        1,
        2,
        3,
    ]
    with pytest.raises(UnreadableState, match="live_trace"):
        decode(DATA[:1] + msgspec.msgpack.encode(stored))


@pytest.mark.parametrize("name", ["live_trace", "unit_cost"])
def test_a_detector_that_dumps_another_format_starts_fresh_and_nothing_else_does(name: str) -> None:
    """An upgrade, or its rollback, must not stop the worker: what it learnt is learnt again."""
    stored = msgspec.msgpack.decode(DATA[1:])
    detectors = stored[module._Stored.__struct_fields__.index("detectors")]
    detectors[name] = detectors.pop(f"{name}.{DETECTORS[name].format}")
    plain, before = decode(DATA[:1] + msgspec.msgpack.encode(stored)), decode(DATA)
    assert plain.detectors[name].dump() == DETECTORS[name](None).dump()  # type: ignore[call-arg]
    assert plain.detectors[name].dump() != before.detectors[name].dump()
    assert plain.totals == before.totals
    for other in DETECTORS.keys() - {name}:
        assert plain.detectors[other].dump() == before.detectors[other].dump()


@pytest.mark.parametrize("cost", [2**62, 2**63 - 1])
def test_money_beyond_sixty_four_bits_stays_exact(cost: int) -> None:
    """A gateway that calls micro-dollars dollars gets there; it must not kill the worker for ever."""
    state = WorkflowState.fresh("support-agent")
    for i in range(3):
        step(state, rollup(T0 + i * BUCKET, [Doing("t", 1, cost, customer="acme")]), BOOK)
        state = decode(encode(state))
    assert state.totals.cost == 3 * cost
    assert encode(decode(encode(state))) == encode(state)


def test_a_busy_day_fits_well_below_the_soft_cap() -> None:
    """24 h, more than 10,000 traces: 99 % of the encoded states are far below 16 kB without shedding."""
    state = WorkflowState.fresh("support-agent")
    flow = Traffic(starts=1.3, lives=4)
    sizes = []
    for record in flow.records(T0, 8_640):
        step(state, record, BOOK)
        if isinstance(record, Moment):
            sizes.append(len(encode(state)))
    sizes.sort()
    p50, p99 = sizes[len(sizes) // 2], sizes[len(sizes) * 99 // 100]
    print(f"{flow._named} traces in 24 h: state p50 {p50}, p99 {p99}, largest {sizes[-1]} bytes")
    assert flow._named > 10_000
    assert p99 < SOFT


def hostile(n: int, *, name: str = LONG) -> WorkflowState:
    """Every call a new trace, customer and key, all names as long as the contract lets them be."""
    state = WorkflowState.fresh(name + "-workflow")
    serial = 0
    for i in range(n // 100):
        start = T0 + i // 4 * BUCKET
        doings = []
        for _ in range(100):
            serial += 1
            label = f"{serial:06d}{name}"
            doings.append(Doing(label, 1, 10**9 + serial, 10**6, label, label, label))
        step(state, rollup(start, doings, workflow=state.workflow), BOOK)
        step(state, Moment(float(start - 600)), BOOK)
    return state


def test_ten_thousand_strangers_with_long_names_stay_below_the_soft_cap() -> None:
    state = hostile(10_000)
    unbounded = len(encode(state, soft=10**9, hard=10**9))
    totals, day_cost = copy.deepcopy(state.totals), state.day_cost
    data = encode(state, soft=SOFT, hard=HARD)
    print(f"10,000 strangers: {unbounded} bytes, shed to {len(data)}")
    assert unbounded > HARD, "or this shows nothing"
    assert len(data) <= HARD
    again = decode(data)
    assert again.totals == totals
    assert again.day_cost == day_cost
    assert again.totals.cost == sum(10**9 + i for i in range(1, 10_001))


def test_what_is_shed_is_shed_from_the_state_too() -> None:
    """What goes on in memory and what a restart would find are the same."""
    state = hostile(2_000)
    data = encode(state, soft=SOFT, hard=HARD)
    assert encode(state, soft=SOFT, hard=HARD) == data
    assert encode(decode(data), soft=SOFT, hard=HARD) == data


def test_shedding_keeps_the_dearest_the_culprits_and_all_money() -> None:
    state = lived(60, starts=20.0)
    culprits = {c for i in state.incidents.values() for c in i.culprits if c in state.traces}
    assert culprits
    dearest = sorted(state.traces.values(), key=lambda t: (-t.cost_nanos, t.trace_id))[:8]
    before = decode(encode(state, soft=10**9, hard=10**9))
    shed(state)
    assert state.totals == before.totals
    assert (state.day, state.day_cost) == (before.day, before.day_cost)
    assert state.applied == before.applied
    assert state.incidents == before.incidents
    assert [b.cost for b in state.buckets] == [b.cost for b in before.buckets]
    assert culprits <= set(state.traces)
    assert {t.trace_id for t in dearest} <= set(state.traces)
    assert len(state.traces) <= 16 + len(culprits)
    assert all(len(values) <= 4 for values in state.shares.values())
    assert {n: d.dump() for n, d in state.detectors.items()} == {
        n: d.dump() for n, d in before.detectors.items()
    }


def test_a_state_beyond_the_hard_cap_says_so() -> None:
    with pytest.raises(StateTooLarge, match=r"support-agent.*bytes"):
        encode(lived(12), soft=1_024, hard=1_024)


def test_a_stuck_watermark_does_not_grow_the_state_for_ever() -> None:
    """Hours of open buckets, each with a full sketch: given up is a judgement, never money."""
    state = WorkflowState.fresh("support-agent")
    spent = 0
    for i in range(1_000):
        doings = [Doing(f"{i}-{k}", 1, 1_000_000) for k in range(300)]
        spent += sum(d.cost for d in doings)
        step(state, rollup(T0 + i * BUCKET, doings), BOOK)
    data = encode(state, soft=SOFT, hard=HARD)
    print(f"stuck for 1,000 buckets: {len(data)} bytes")
    assert decode(data).totals.cost == spent

"""In whatever order calls and outcomes come, and however they are cut into transactions: the same totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import MAX_INT
from schemas.events import Outcome
from schemas.outcomes import OutcomeRollup
from service.outcomes import trace as traces
from service.outcomes.join import Join
from service.outcomes.trace import MAX_OUTCOMES, MAX_WORKFLOWS, Sums, Trace, UnreadableTrace, change

T0 = 1_769_851_800
USD = 10**9


def outcome(
    outcome_id: str, trace_id: str = "t", *, kind: str = "solved", at: float = 0.0, **more: Any
) -> Outcome:
    when = datetime.fromtimestamp(T0 + at, UTC)
    return Outcome(outcome_id=outcome_id, trace_id=trace_id, kind=kind, occurred_at=when, **more)


class Kept:
    """What a broker would have: every rollup that was written, and the last state of each trace."""

    def __init__(self, max_traces: int = 1_000) -> None:
        self.rollups: list[OutcomeRollup] = []
        self.traces: dict[str, bytes] = {}
        self.max_traces = max_traces
        self.join = Join({}, max_traces)

    def commit(self) -> None:
        drained = self.join.drain()
        self.rollups += drained.rollups
        for trace_id, data in drained.changed.items():
            if data is None:
                self.traces.pop(trace_id, None)
            else:
                self.traces[trace_id] = data

    def crash(self) -> None:
        """What was not committed is gone; it is read again."""
        self.join = Join(self.traces, self.max_traces)

    def spend(self, trace_id: str, cost: int, workflow: str = "support", now: int = T0) -> None:
        self.join.spend(trace_id, workflow, cost, 1, 0, now)

    def totals(self) -> dict[tuple[str, str], Sums]:
        found: defaultdict[tuple[str, str], Sums] = defaultdict(Sums)
        for rollup in self.rollups:
            place = rollup.workflow, rollup.kind
            found[place] = found[place].plus(Sums(*(getattr(rollup, name) for name in Sums._fields)))
        return {place: sums for place, sums in found.items() if any(sums)}


CALL = st.tuples(
    st.just("call"),
    st.sampled_from("abc"),
    st.sampled_from(["support", "care"]),
    st.integers(0, 5 * USD),
)
REACHED = st.builds(
    lambda number, trace, kind, workflow, at, quantity: (
        "outcome",
        outcome(
            f"{trace}-{number}", trace, kind=kind, workflow=workflow, at=at, quantity=float(quantity)
        ),
    ),
    st.integers(0, 4),
    st.sampled_from("abc"),
    st.just("solved"),
    st.sampled_from([None, "support", "desk"]),
    st.integers(0, 30),
    st.integers(1, 9),
)  # fmt: skip


def unique(entries: list[Any]) -> list[Any]:
    """A gateway says one thing of an outcome, however often."""
    first: dict[str, Any] = {}
    for entry in entries:
        if entry[0] == "outcome":
            first.setdefault(entry[1].outcome_id, entry)
    return [first[e[1].outcome_id] if e[0] == "outcome" else e for e in entries]


ENTRIES = st.lists(CALL | REACHED, max_size=25).map(unique)


def run(entries: list[Any], cuts: set[int], crashes: set[int]) -> Kept:
    kept = Kept()
    begun = 0
    for i, entry in enumerate(entries):
        apply(kept, entry)
        if i in crashes:
            kept.crash()
            for again in entries[begun : i + 1]:
                apply(kept, again)
        if i in cuts:
            kept.commit()
            begun = i + 1
    kept.commit()
    return kept


def apply(kept: Kept, entry: Any) -> None:
    if entry[0] == "call":
        kept.spend(entry[1], entry[3], entry[2])
    else:
        kept.join.reach(entry[1], T0)


def expected(entries: list[Any]) -> dict[str, Any]:
    """By the definition: traces that led to outcomes, and what they cost."""
    cost: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    reached = {e[1].outcome_id: e[1] for e in entries if e[0] == "outcome"}
    for entry in entries:
        if entry[0] == "call":
            cost[entry[1]] += entry[3]
            calls[entry[1]] += 1
    led = {o.trace_id for o in reached.values()}
    return {
        "outcomes": len(reached),
        "quantity_thousandths": sum(round(o.quantity * 1_000) for o in reached.values()),
        "unmatched": sum(calls[o.trace_id] == 0 for o in reached.values()),
        "traces": len(led),
        "cost_nanos": sum(cost[trace] for trace in led),
        "calls": sum(calls[trace] for trace in led),
        "unpriced_calls": 0,
    }


@given(ENTRIES, st.data())
def test_any_order_any_cut_and_any_crash_come_to_the_same_totals(entries: list[Any], data: Any) -> None:
    places = st.sets(st.integers(0, max(len(entries) - 1, 0)))
    one = run(entries, set(), set())
    other = run(data.draw(st.permutations(entries)), data.draw(places), data.draw(places))
    assert other.totals() == one.totals()
    whole = Sums()
    for sums in one.totals().values():
        whole = whole.plus(sums)
    assert whole._asdict() == expected(entries)


@given(st.lists(st.integers(0, 5 * USD), min_size=1, max_size=5), st.integers(1, 9))
def test_outcomes_of_a_trace_share_its_cost_to_the_nano_dollar(costs: list[int], count: int) -> None:
    kept = Kept()
    for cost in costs:
        kept.spend("t", cost)
    for i in range(count):
        kept.join.reach(outcome(str(i), kind=f"kind-{i}"), T0)
    kept.commit()
    parts = [sums.cost_nanos for sums in kept.totals().values()]
    assert sum(parts) == sum(costs)
    assert max(parts) - min(parts) <= 1


def test_a_late_call_is_a_correction() -> None:
    kept = Kept()
    kept.spend("t", 2 * USD)
    kept.join.reach(outcome("o"), T0)
    kept.commit()
    kept.spend("t", USD)
    kept.commit()
    first, second = kept.rollups
    assert (first.outcomes, first.cost_nanos, first.calls) == (1, 2 * USD, 1)
    assert (second.outcomes, second.cost_nanos, second.calls) == (0, USD, 1)
    assert second.bucket_start == first.bucket_start


def test_an_outcome_before_its_calls_is_unmatched_until_they_come() -> None:
    kept = Kept()
    kept.join.reach(outcome("o"), T0)
    kept.commit()
    assert kept.totals() == {("unattributed", "solved"): Sums(1, 1_000, 1, 1)}
    kept.spend("t", USD)
    kept.commit()
    assert kept.totals() == {("support", "solved"): Sums(1, 1_000, 0, 1, USD, 1)}


def test_an_outcome_that_names_no_workflow_is_of_the_one_in_which_most_was_spent() -> None:
    kept = Kept()
    kept.spend("t", USD, "router")
    kept.join.reach(outcome("o"), T0)
    kept.join.reach(outcome("named", workflow="desk"), T0)
    kept.commit()
    kept.spend("t", 2 * USD, "agent")
    kept.commit()
    assert {place: s.outcomes for place, s in kept.totals().items()} == {
        ("agent", "solved"): 1,
        ("desk", "solved"): 1,
    }
    assert sum(s.cost_nanos for s in kept.totals().values()) == 3 * USD


def test_an_outcome_counts_once_however_often_it_is_sent() -> None:
    kept = Kept()
    assert kept.join.reach(outcome("o"), T0) == "counted"
    assert kept.join.reach(outcome("o"), T0) == "duplicate"
    kept.commit()
    assert kept.join.reach(outcome("o", "another"), T0) == "duplicate"
    kept.crash()
    assert kept.join.reach(outcome("o"), T0) == "duplicate"


def test_a_trace_has_room_for_so_many_outcomes_and_workflows() -> None:
    kept = Kept()
    for i in range(MAX_OUTCOMES):
        assert kept.join.reach(outcome(str(i)), T0) == "counted"
    assert kept.join.reach(outcome("one more"), T0) == "full"
    for i in range(MAX_WORKFLOWS + 5):
        kept.spend("t", USD, f"w-{i}")
    kept.commit()
    assert len(traces.load(kept.traces["t"]).spent) == MAX_WORKFLOWS + 1
    assert kept.totals()["w-0", "solved"].cost_nanos == (MAX_WORKFLOWS + 5) * USD


def test_a_trace_is_forgotten_when_nothing_was_heard_of_it_for_long() -> None:
    kept = Kept()
    kept.spend("old", USD, now=T0)
    kept.join.reach(outcome("o", "old"), T0)
    kept.commit()
    kept.spend("new", USD, now=T0 + 100)
    kept.commit()
    kept.join.expire(T0 + 100)
    kept.commit()
    assert list(kept.traces) == ["new"]
    assert kept.totals()["support", "solved"].cost_nanos == USD, "what it came to stays"
    kept.spend("old", USD, now=T0 + 200)
    kept.commit()
    assert len(kept.rollups) == 1, "what comes later is of another trace"
    assert kept.join.reach(outcome("o", "old"), T0) == "counted"


def test_what_is_heard_of_a_trace_as_it_expires_begins_another() -> None:
    kept = Kept()
    kept.spend("t", USD, now=T0)
    kept.commit()
    kept.join.expire(T0 + 1)
    kept.spend("t", 2 * USD, now=T0 + 2)
    kept.commit()
    assert traces.load(kept.traces["t"]).spent["support"].cost_nanos == 2 * USD


def test_with_too_many_traces_those_go_that_were_silent_for_longest() -> None:
    kept = Kept(max_traces=3)
    for i in range(5):
        kept.spend(f"t-{i}", USD, now=T0 + i)
    kept.spend("t-0", USD, now=T0 + 9)
    kept.commit()
    kept.spend("t-2", USD, now=T0 + 10)
    kept.commit()
    assert set(kept.traces) == {"t-4", "t-0", "t-2"}
    kept.crash()
    kept.spend("t-9", USD, now=T0 + 11)
    kept.commit()
    assert set(kept.traces) == {"t-0", "t-2", "t-9"}


def test_sums_that_no_integer_of_the_contract_holds_become_several_records() -> None:
    kept = Kept()
    for trace in "ab":
        kept.spend(trace, MAX_INT)
        kept.spend(trace, USD)
        kept.join.reach(outcome(trace, trace), T0)
    kept.commit()
    assert [rollup.cost_nanos for rollup in kept.rollups] == [MAX_INT, MAX_INT]
    kept.crash()


def test_nothing_is_written_of_what_did_not_change() -> None:
    kept = Kept()
    assert kept.join.drain().changed == {}
    kept.spend("t", 0)
    kept.commit()
    assert kept.rollups == []
    assert change({}, {}) == {}


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x01", b"\x01\x93\x01\x02\x03", b"\x01\xff"])
def test_a_trace_of_another_release_is_not_guessed_at(data: bytes) -> None:
    with pytest.raises(UnreadableTrace):
        traces.load(data)


@given(ENTRIES)
def test_a_trace_is_read_as_it_was_written(entries: list[Any]) -> None:
    kept = run(entries, {3, 7}, set())
    for data in kept.traces.values():
        trace: Trace = traces.load(data)
        assert traces.dump(trace) == data
        assert trace.told() == traces.load(data).told()

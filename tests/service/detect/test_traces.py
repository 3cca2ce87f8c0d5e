"""Live traces, cut twice: every one that is dear enough is there, and what is said of its cost holds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rollups import MAX_LIVE_TRACES, Rollup
from service.detect import traces
from service.detect.merge import merge
from service.detect.state import WorkflowState, decode, encode, shed
from service.detect.step import Moment, step
from service.detect.traces import MAX_TRACES, TRACE_IDLE_S, LeftOut, TraceTotals
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, rollup

Costs = Mapping[str, int]


def delta(costs: Costs, named: int) -> Rollup:
    """What a delta says of its traces when it names only so many."""
    ranked = sorted(costs.items(), key=lambda item: (-item[1], item[0]))
    rest = [cost for _, cost in ranked[named:]]
    live = [
        {"trace_id": name, "calls": 1, "cost_nanos": cost, "max_input_tokens": 1}
        for name, cost in ranked[:named]
    ]
    left = {
        "traces": len(rest),
        "calls": len(rest),
        "cost_nanos": sum(rest),
        "max_cost_nanos": max(rest, default=0),
    }
    return rollup(T0, [], live_traces=live, other_traces=left)


class Exact:
    """The same traces with nothing cut, and the promises of `service.detect.traces` checked against them."""

    def __init__(self, keep: int, named: int) -> None:
        self.keep, self.named = keep, named
        self.kept: dict[str, TraceTotals] = {}
        self.left_out = LeftOut()
        self.now = float(T0)
        self.left_out.pass_time(self.now)
        self.since: Counter[str] = Counter()  # since `left_out.since` and since it last ended
        self.before: Counter[str] = Counter()  # in the generation before that
        self.whole: dict[str, int] = {}  # of kept ones: since the generation in which they came in
        self.cuts = self.came_in = 0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        began = self.left_out.since
        self.left_out.pass_time(self.now)
        if self.left_out.since != began:
            self.before = self.since if self.now - began < 600.0 else Counter()
            self.since = Counter()
            self.cuts, self.came_in = 0, sum(t.cost_nanos for t in self.kept.values())

    def add(self, costs: Costs) -> None:
        record = delta(costs, self.named)
        self.cuts += record.other_traces.max_cost_nanos
        self.came_in += sum(t.cost_nanos for t in record.live_traces)
        for name, cost in costs.items():
            self.since[name] += cost
            if name in self.whole:
                self.whole[name] += cost
        traces.add(self.kept, self.left_out, record, self.now, self.now)
        for name in self.kept:
            self.whole.setdefault(name, self.since[name])
        if len(self.kept) > self.keep + self.keep // 2:
            self.drop(self.keep)

    def drop(self, keep: int) -> None:
        for trace in traces.drop(self.kept, self.left_out, keep):
            del self.whole[trace.trace_id]

    def end_idle(self) -> None:
        for trace in traces.end_idle(self.kept, self.now):
            del self.whole[trace.trace_id]
            self.since.pop(trace.trace_id, None)
            self.before.pop(trace.trace_id, None)

    def reload(self) -> None:
        dumped = msgspec.msgpack.encode((list(self.kept.values()), self.left_out))
        kept, self.left_out = msgspec.msgpack.decode(dumped, type=tuple[list[TraceTotals], LeftOut])
        self.kept = {trace.trace_id: trace for trace in kept}

    def check(self) -> None:
        for name, trace in self.kept.items():
            assert trace.cost_nanos <= self.whole[name] <= trace.cost_nanos + trace.missed_nanos
        for name in self.since.keys() - self.kept.keys():
            assert self.since[name] <= self.left_out.most
        for name in (self.since.keys() | self.before.keys()) - self.kept.keys():
            assert self.since[name] + self.before[name] <= self.left_out.before + self.left_out.most
        assert self.kept.keys() >= {n for n, cost in self.since.items() if cost > self.left_out.most}


names = st.integers(0, 30).map("t{:02}".format)
costs_of = st.dictionaries(names, st.integers(0, 1_000), max_size=12)
doings = st.one_of(
    costs_of.map(lambda costs: ("add", costs)),
    st.sampled_from([1.0, 20.0, 299.0, 301.0, 700.0]).map(lambda s: ("pass", s)),
    st.sampled_from([("end", None), ("reload", None), ("shed", None)]),
)


@settings(deadline=None, max_examples=3 * settings().max_examples)
@given(st.integers(1, 6), st.integers(1, 4), st.lists(doings, max_size=40))
def test_what_is_said_of_every_trace_holds_after_every_step(
    keep: int, named: int, steps: list[tuple[str, object]]
) -> None:
    exact = Exact(keep, named)
    for what, value in steps:
        match what, value:
            case "add", dict() as costs:
                exact.add(costs)
            case "pass", float() as seconds:
                exact.pass_time(seconds)
            case "end", _:
                exact.end_idle()
            case "reload", _:
                exact.reload()
            case _:
                exact.drop(max(0, keep - 2))
        exact.check()


@settings(deadline=None)
@given(st.integers(1, 8), st.integers(1, 4), st.lists(costs_of, max_size=60))
def test_the_bound_is_the_cuts_and_a_share_of_what_came_in(
    keep: int, named: int, deltas: list[dict[str, int]]
) -> None:
    exact = Exact(keep, named)
    for i, costs in enumerate(deltas):
        if i == len(deltas) // 2:
            exact.pass_time(301.0)
        exact.add(costs)
        exact.check()
        assert (exact.left_out.most - exact.cuts) * (keep // 2 + 1) <= exact.came_in


@settings(deadline=None, max_examples=max(10, settings().max_examples // 10))
@given(st.integers(0, 10**6), st.sampled_from([0.6, 1.2, 2.5]), st.integers(20, 400))
def test_the_state_keeps_every_trace_that_is_dearer_than_its_bound(seed: int, skew: float, many: int) -> None:
    """Any split into deltas, any order, stored and read in between: exact sums against what the state says."""
    dice = random.Random(seed)
    true: Counter[str] = Counter()
    records = []
    for i in range(60):
        costs: Counter[str] = Counter()
        for _ in range(dice.randint(1, 60)):
            costs[f"t{dice.randrange(many)}"] += round(10**6 * dice.paretovariate(skew))
        true.update(costs)
        doings = [Doing(name, 1, cost) for name, cost in costs.items()]
        records.append(rollup(T0 + i // 3 * BUCKET, doings))
    dice.shuffle(records)
    state = WorkflowState.fresh("support-agent")
    for record in records:
        merge(state, record)
        if dice.random() < 0.2:
            state = decode(encode(state))
        if dice.random() < 0.05:
            shed(state)
    for name, cost in true.items():
        trace = state.traces.get(name)
        if trace is None:
            assert cost <= state.left_out.most
        else:
            assert trace.cost_nanos <= cost <= trace.cost_nanos + trace.missed_nanos
    assert len(state.traces) <= MAX_TRACES * 3 // 2
    assert state.totals.cost == true.total()


def test_without_a_cut_everything_is_exact() -> None:
    state = WorkflowState.fresh("support-agent")
    for i in range(20):
        merge(state, rollup(T0 + i * BUCKET, [Doing(f"t{i % 9}", 1, 100 + i), Doing("dear", 1, 10**9)]))
    assert state.left_out.most == 0
    assert {t.missed_nanos for t in state.traces.values()} == {0}
    assert state.traces["dear"].cost_nanos == 20 * 10**9


def test_a_cut_delta_makes_the_unnamed_uncertain_and_the_named_not() -> None:
    state = WorkflowState.fresh("support-agent")
    merge(state, rollup(T0, [Doing("first", 1, 5), Doing("second", 1, 5)]))
    crowd = [Doing(f"c{i:02}", 1, 1_000 + i) for i in range(MAX_LIVE_TRACES + 3)]
    merge(state, rollup(T0, [*crowd, Doing("first", 1, 5_000)]))
    assert state.left_out.most == 1_003, "the dearest of the four that are not named"
    assert state.traces["first"].missed_nanos == 0
    assert state.traces["second"].missed_nanos == 1_003
    assert state.traces["c18"].missed_nanos == 0, "nobody was left out before it came"
    merge(state, rollup(T0, [Doing("late", 1, 1)]))
    assert state.traces["late"].missed_nanos == 1_003


def test_the_bound_is_of_minutes_and_not_of_days() -> None:
    state = WorkflowState.fresh("support-agent")
    bounds = []
    for i in range(600):
        crowd = [Doing(f"{i}-{k}", 1, 1_000_000) for k in range(40)]
        merge(state, rollup(T0 + i * BUCKET, crowd))
        bounds.append(state.left_out.before + state.left_out.most)
    spent = 600 * 40 * 1_000_000
    print(f"40 strangers per 10 s for 100 minutes, {spent / 1e9} dollars: bounds at most {max(bounds) / 1e9}")
    assert max(bounds[300:]) == max(bounds)
    assert max(bounds) <= 62 * 1_000_000 + 62 * 40 * 1_000_000 / 33


@pytest.mark.parametrize(("per_delta", "share"), [(12_000_000, 0.8), (20_000_000, 0.99)])
def test_a_slow_loop_grows_out_of_thousands_of_passing_traces(per_delta: int, share: float) -> None:
    """Each of its deltas is cheaper than many a stranger; kept by what was counted alone it would start over."""
    dice = random.Random(5)
    state = WorkflowState.fresh("support-agent")
    true = 0
    for i in range(600):
        doings = [Doing(f"{i}-{k}", 1, round(5_000_000 * dice.lognormvariate(0.0, 1.2))) for k in range(40)]
        if i >= 200:
            doings.append(Doing("loop", 3, per_delta))
            true += per_delta
        step(state, rollup(T0 + i // 4 * BUCKET, doings), BOOK)
        if i % 4 == 0:
            step(state, Moment(T0 + i // 4 * BUCKET - 20.0), BOOK)
    assert state.traces["loop"].cost_nanos >= share * true


def test_a_trace_that_ended_and_comes_again_is_a_new_one() -> None:
    state = WorkflowState.fresh("support-agent")
    merge(state, rollup(T0, [Doing("a", 1, 7)], last=T0 + 1.0))
    step(state, Moment(T0 + 1.0 + TRACE_IDLE_S), BOOK)
    assert state.traces == {}
    assert state.left_out.most == 0, "what ended is known, not left out"
    merge(state, rollup(T0 + 400, [Doing("a", 1, 5)]))
    assert (state.traces["a"].cost_nanos, state.traces["a"].missed_nanos) == (5, 0)

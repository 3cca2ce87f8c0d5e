"""An open bucket knows its dearest customers and api keys by name, and a closed one nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.detect.bucket import MAX_NAMES, Bucket
from service.detect.state import HARD_BYTES, WorkflowState, decode, encode
from service.detect.step import Moment, step
from tests.service.detect.builders import BOOK, BUCKET, T0, Doing, charged, rollup

found = st.lists(
    st.builds(
        Doing,
        st.just("t"),
        st.integers(1, 100),
        st.integers(0, 10**12),
        customer=st.none() | st.sampled_from("abcdef"),
        key=st.none() | st.sampled_from("uvwxyz"),
    ),
    max_size=8,
)


@given(st.lists(found, min_size=1, max_size=8))
def test_names_add_up_over_deltas(deltas: list[list[Doing]]) -> None:
    bucket = Bucket(T0)
    for doings in deltas:
        bucket.add(rollup(T0, doings))
    for named, of in ((bucket.customers_named(), "customer"), (bucket.api_keys_named(), "key")):
        expected: dict[str, list[int]] = {}
        for doing in (d for doings in deltas for d in doings):
            if (name := getattr(doing, of)) is not None:
                sums = expected.setdefault(name, [0, 0])
                sums[0] += doing.calls
                sums[1] += doing.cost
        assert sorted(named) == sorted((name, *sums) for name, sums in expected.items())


def test_of_many_names_the_dearest_are_kept() -> None:
    bucket = Bucket(T0)
    for i in range(100):
        bucket.add(rollup(T0, [Doing("t", 1, i, customer=f"c{i:02}", key=f"k{i:02}")]))
    assert {name for name, _, _ in bucket.customers_named()} == {f"c{i}" for i in range(84, 100)}
    assert len(bucket.api_keys_named()) == MAX_NAMES


def test_a_charge_has_no_name() -> None:
    bucket = Bucket(T0)
    bucket.add(charged(rollup(T0, [Doing("t", 2, 5, customer="acme")]), 9, customer="seats"))
    assert bucket.customers_named() == (("acme", 2, 5),)


def test_names_are_forgotten_when_it_closes_and_what_is_late_brings_none() -> None:
    state = WorkflowState.fresh("support-agent")
    step(state, rollup(T0, [Doing("t", 1, 5, customer="acme", key="k")]), BOOK)
    assert state.buckets[0].customers_named() == (("acme", 1, 5),)
    assert decode(encode(state)).buckets[0].api_keys_named() == (("k", 1, 5),)
    step(state, Moment(T0 + BUCKET), BOOK)
    step(state, rollup(T0, [Doing("t", 1, 5, customer="late")], late=1), BOOK)
    assert state.buckets[0].customers_named() == state.buckets[0].api_keys_named() == ()


def test_buckets_that_wait_for_hours_with_the_longest_names_stay_below_the_cap() -> None:
    state = WorkflowState.fresh("support-agent")
    for i in range(150):
        for k in range(4):
            labels = [f"{i}-{k}-{n}-" + "\N{GRINNING FACE}" * 180 for n in range(8)]
            doings = [Doing(x[:12], 1, 10**6 + n, customer=x, key=x) for n, x in enumerate(labels)]
            step(state, rollup(T0 + i * BUCKET, doings), BOOK)
    unbounded = len(encode(state, soft=10**9, hard=10**9))
    data = encode(state)
    print(f"150 buckets of longest names: {unbounded} bytes, shed to {len(data)}")
    assert unbounded > HARD_BYTES, "or this shows nothing"
    assert len(data) <= HARD_BYTES

"""Distinct counts travel inside rollups: what is read counts what was written."""

from __future__ import annotations

import orjson
from datasketches import hll_sketch, hll_union, tgt_hll_type
from hypothesis import given
from hypothesis import strategies as st

from schemas.catalog import EXAMPLES
from schemas.decode import decode
from schemas.rollups import Rollup


def sketch(names: range | set[str]) -> hll_sketch:
    found = hll_sketch(10, tgt_hll_type.HLL_4)
    for name in names:
        found.update(str(name))
    return found


def rollup(**fields: bytes) -> Rollup:
    return decode(Rollup, orjson.dumps(EXAMPLES["rollup"])).model_copy(update=fields)


@given(st.sets(st.text(max_size=8), max_size=60))
def test_a_sketch_counts_the_same_after_the_wire(names: set[str]) -> None:
    counted = sketch(names)
    read = decode(Rollup, rollup(traces=counted.serialize_compact()).to_json())
    assert hll_sketch.deserialize(read.traces).get_estimate() == counted.get_estimate()
    assert read.customers == b""


def test_the_largest_sketch_fits() -> None:
    for kind in (tgt_hll_type.HLL_4, tgt_hll_type.HLL_6, tgt_hll_type.HLL_8):
        found = hll_sketch(10, kind)
        for name in range(20_000):
            found.update(name)
        full = found.serialize_compact()
        assert decode(Rollup, rollup(traces=full, customers=full).to_json()).customers == full


def test_sketches_of_two_rollups_count_what_both_saw_once() -> None:
    left, right = (
        rollup(traces=sketch(range(100)).serialize_compact()),
        rollup(traces=sketch(range(50, 150)).serialize_compact()),
    )
    union = hll_union(10)
    for written in (left.to_json(), right.to_json()):
        union.update(hll_sketch.deserialize(decode(Rollup, written).traces))
    assert 140 < union.get_estimate() < 160

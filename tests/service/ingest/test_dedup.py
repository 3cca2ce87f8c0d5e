from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ingest.dedup import BYTES_PER_ID, GENERATIONS, SeenIds

Log = list[tuple[int, str]]
# Offsets with holes (transaction markers, compaction), records of several ids, and ids that come again.
log_of_ids = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abcdefg")), max_size=60).map(
    lambda steps: [(sum(s for s, _ in steps[: i + 1]), name) for i, (_, name) in enumerate(steps)]
)


def plainly(log: Log, window: int) -> list[bool]:
    """The definition, word for word."""
    size = max(-(-window // GENERATIONS), 1)
    return [
        window > 0
        and any(other == name and offset // size - at // size <= GENERATIONS for at, other in log[:i])
        for i, (offset, name) in enumerate(log)
    ]


def asked(seen: SeenIds, log: Log) -> list[bool]:
    return seen.see([name for _, name in log], [offset for offset, _ in log])


def cut(log: Log, data: st.DataObject) -> list[Log]:
    """The log in batches; a record's ids stay together."""
    parts: list[Log] = []
    for entry in log:
        together = parts and parts[-1][-1][0] == entry[0]
        if together or (parts and data.draw(st.booleans())):
            parts[-1].append(entry)
        else:
            parts.append([entry])
    return parts


@given(log_of_ids, st.integers(0, 12), st.data())
def test_an_id_is_a_duplicate_exactly_when_it_lies_within_the_generations(
    log: Log, window: int, data: st.DataObject
) -> None:
    seen = SeenIds(window)
    found = [flag for part in cut(log, data) for flag in asked(seen, part)]
    assert found == plainly(log, window)


@given(log_of_ids, st.integers(1, 12))
def test_an_id_within_the_window_is_always_found(log: Log, window: int) -> None:
    for i, found in enumerate(asked(SeenIds(window), log)):
        offset, name = log[i]
        near = any(other == name and offset - window <= at for at, other in log[:i])
        assert found or not near


@given(log_of_ids, st.integers(0, 12), st.data())
def test_rebuilt_from_the_tail_it_answers_as_if_it_had_never_crashed(
    log: Log, window: int, data: st.DataObject
) -> None:
    parts = cut(log, data)
    crash = data.draw(st.integers(0, len(parts)), label="batches committed before the crash")
    before = [entry for part in parts[:crash] for entry in part]
    after = [entry for part in parts[crash:] for entry in part]
    committed = after[0][0] if after else 0
    rebuilt = SeenIds(window)
    first = committed - rebuilt.tail(committed)
    asked(rebuilt, [entry for entry in before if entry[0] >= first])
    assert asked(rebuilt, after) == plainly(log, window)[len(before) :]


def test_an_offset_that_comes_again_is_a_bug_and_not_a_duplicate() -> None:
    seen = SeenIds(10)
    seen.see(["a"], [5])
    with pytest.raises(ValueError, match="offset 5 after 5"):
        seen.see(["a"], [5])


def test_thousands_of_ids_are_told_apart_and_found_again() -> None:
    window = 40_000
    seen = SeenIds(window)
    ids = [f"0190d2a4-{i:08x}-7abc" for i in range(window)]
    for again in (False, True):
        for start in range(0, window, 1_000):
            offsets = range(start + again * window, start + again * window + 1_000)
            assert seen.see(ids[start : start + 1_000], offsets) == [again] * 1_000


def test_memory_per_offset_of_the_window_is_bounded() -> None:
    window, batch = 100_000, 2_000
    seen = SeenIds(window)
    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, 3 * window, batch):
            seen.see([f"0190d2a4-{i:08x}" for i in range(start, start + batch)], range(start, start + batch))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held / window <= BYTES_PER_ID

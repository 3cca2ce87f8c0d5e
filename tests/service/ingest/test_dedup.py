from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.ingest.dedup import BYTES_PER_ID, SeenIds

# Offsets with holes (transaction markers, compaction) and ids that come again.
log_of_ids = st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abcdefg")), max_size=60).map(
    lambda steps: [(sum(s for s, _ in steps[: i + 1]), name) for i, (_, name) in enumerate(steps)]
)


def plainly(log: list[tuple[int, str]], window: int) -> list[bool]:
    """The definition, word for word."""
    return [
        any(other == name and offset - window <= at < offset for at, other in log[:i])
        for i, (offset, name) in enumerate(log)
    ]


@given(log_of_ids, st.integers(0, 12))
def test_an_id_is_a_duplicate_exactly_when_it_lies_within_the_window(
    log: list[tuple[int, str]], window: int
) -> None:
    seen = SeenIds(window)
    assert [seen.see(name, offset) for offset, name in log] == plainly(log, window)
    assert len(seen) <= window


@given(log_of_ids, st.integers(0, 12), st.data())
def test_rebuilt_from_the_tail_it_answers_as_if_it_had_never_crashed(
    log: list[tuple[int, str]], window: int, data: st.DataObject
) -> None:
    crash = data.draw(st.integers(0, len(log)), label="records committed before the crash")
    committed = log[crash][0] if crash < len(log) else (log[-1][0] + 1 if log else 0)
    rebuilt = SeenIds(window)
    for offset, name in log[:crash]:
        if offset >= committed - window:
            rebuilt.see(name, offset)
    assert [rebuilt.see(name, offset) for offset, name in log[crash:]] == plainly(log, window)[crash:]


def test_an_offset_that_comes_again_is_a_bug_and_not_a_duplicate() -> None:
    seen = SeenIds(10)
    seen.see("a", 5)
    with pytest.raises(ValueError, match="offset 5 after 5"):
        seen.see("a", 5)


def test_memory_per_id_is_bounded() -> None:
    window = 20_000
    gc.collect()
    tracemalloc.start()
    try:
        seen = SeenIds(window)
        for offset in range(3 * window):
            seen.see(f"0190d2a4-{offset:08x}-7abc-8def-0123456789ab", offset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(seen) == window
    assert peak / window <= BYTES_PER_ID

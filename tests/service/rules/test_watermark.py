"""Event time as one rollups partition has it, whoever asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.rules.watermark import SILENT_S, Heard

_ticks = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 500).map(float), st.booleans(), st.integers(0, 40)),
    max_size=40,
)


def told(ticks: list[tuple[int, float, bool, int]]) -> list[tuple[int, float, bool, float]]:
    """With the times of their records, which grow."""
    at, found = 0.0, []
    for source, watermark, idle, passed in ticks:
        at += passed
        found.append((source, watermark, idle, at))
    return found


@given(_ticks)
def test_it_is_the_least_of_those_that_hold_time_back(ticks: list[tuple[int, float, bool, int]]) -> None:
    heard = Heard()
    last: dict[int, tuple[float, bool, float]] = {}
    first: float | None = None
    for source, watermark, idle, at in told(ticks):
        first = at if first is None else first
        last[source] = watermark, idle, at
        common = heard.observe(source, 4, watermark, idle=idle, told_at=at)
        assert (common is None) == (len(last) < 4 and at - first < SILENT_S)
        alive = [(mark, rests) for mark, rests, when in last.values() if at - when < SILENT_S]
        if common is not None and any(not rests for _, rests in alive):
            assert common == min(mark for mark, rests in alive if not rests)
        elif common is not None:
            assert common == max(mark for mark, _ in alive)


@given(_ticks, st.integers(0, 39))
def test_what_is_read_again_changes_nothing(ticks: list[tuple[int, float, bool, int]], back: int) -> None:
    # Times that differ: of two ticks of one time, the one read last counts.
    records = told([(source, watermark, idle, passed + 1) for source, watermark, idle, passed in ticks])
    once, again = Heard(), Heard()
    answers = [once.observe(s, 4, mark, idle=idle, told_at=at) for s, mark, idle, at in records]
    for s, mark, idle, at in records:
        again.observe(s, 4, mark, idle=idle, told_at=at)
    for s, mark, idle, at in records[back:]:
        assert again.observe(s, 4, mark, idle=idle, told_at=at) == answers[-1]

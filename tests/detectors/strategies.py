"""Sequences of windows for the battery: what a workflow does on a quiet day, and what no workflow should."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from detectors import protocol
from detectors.protocol import Window
from tests.detectors.traffic import Trace

T0 = 1_767_225_600.0  # 2026-01-01, a midnight
SECONDS = 10.0
MAX_NANOS = 10**15


@st.composite
def traces(draw: st.DrawFn, start: float) -> protocol.Trace:
    calls = draw(st.integers(1, 40) | st.integers(0, 10**9))
    return Trace(
        trace_id=draw(st.sampled_from(["a", "b", "c"]) | st.text(min_size=1, max_size=8)),
        calls=calls,
        cost_nanos=draw(st.integers(0, 50_000_000) | st.integers(0, MAX_NANOS)),
        max_input_tokens=draw(st.integers(0, 10**9)),
        started=start - draw(st.floats(0, 86_400)),
        last=start + draw(st.floats(0, SECONDS)),
    )


@st.composite
def named(draw: st.DrawFn) -> tuple[tuple[str, int, int], ...]:
    """Names with calls and nano-dollars: usually the same few, now and then a stranger, now and then nobody."""
    found = draw(
        st.just(())
        | st.lists(
            st.tuples(
                st.sampled_from(["acme", "zeta", "eta"]) | st.text(min_size=1, max_size=8),
                st.integers(0, 60) | st.integers(0, 10**9),
                st.integers(0, 10**9) | st.integers(0, MAX_NANOS),
            ),
            max_size=6,
            unique_by=lambda item: item[0],
        )
    )
    return tuple(found)


@st.composite
def windows(draw: st.DrawFn, start: float = T0) -> Window:
    """One window: usually some calls, now and then silence, zero cost, no traces, or all at once and huge."""
    calls = draw(st.just(0) | st.integers(1, 60) | st.integers(1, 10**9))
    reference = draw(st.just(0) | st.integers(0, 10**9) | st.integers(0, MAX_NANOS))
    return Window(
        start=start,
        seconds=SECONDS,
        calls=calls,
        cost_nanos=draw(st.just(0) | st.integers(0, 10**9) | st.integers(0, MAX_NANOS)),
        traces=draw(st.just(0.0) | st.floats(0.5, 60.0) | st.floats(0.0, 1e9)),
        input_tokens=draw(st.integers(0, 10**12)),
        output_tokens=draw(st.integers(0, 10**12)),
        reference_nanos=reference,
        reference_output_nanos=draw(st.integers(0, reference)),
        errors=draw(st.integers(0, calls)),
        live=tuple(draw(st.lists(traces(start), max_size=4))),
        finished=tuple(draw(st.lists(traces(start), max_size=4))),
        usual_nanos_per_s=draw(st.just(0.0) | st.floats(0, 1e12)),
        customers=draw(named()),
        api_keys=draw(named()),
    )


@st.composite
def histories(
    draw: st.DrawFn, min_size: int = 0, max_size: int = 25, *, late: bool = False
) -> list[tuple[Window, bool]]:
    """Windows in order with gaps of seconds to years, each with whether learning stands still.

    A stretch of like windows comes first now and then, so that detectors are warm when the odd ones come.
    """
    found: list[tuple[Window, bool]] = []
    start = T0
    if draw(st.booleans()):
        model = draw(windows(start))
        for _ in range(65):
            found.append((moved(model, start), False))
            start += SECONDS
    for _ in range(draw(st.integers(min_size, max_size))):
        gap = draw(st.just(0) | st.integers(0, 40) | st.integers(0, 40_000_000))
        start += SECONDS * (1 + gap)
        back = draw(st.integers(0, 100)) * SECONDS if late and draw(st.booleans()) else 0.0
        found.append((draw(windows(start - back)), draw(st.integers(0, 4)) == 0))
    return found


def moved(window: Window, start: float) -> Window:
    """The same window at another time."""
    return replace(window, start=start)

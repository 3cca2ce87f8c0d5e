"""The benchmark of the detect worker plays what it says and measures what it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest

from benchmarks.detect import Plan, batches, measure
from benchmarks.detect_worker import Stretch, Worker
from schemas.rollups import Rollup, Tick
from service.detect import state as codec
from service.detect.clerk import read_rollup
from service.settings import IngestSettings

SMALL = Plan(workflows=40, rate=40.0, warm=0.5, measured=0.5, inside=0.5)


def played(plan: Plan, *, looking: bool = False) -> tuple[Worker, Stretch]:
    worker, stretch = Worker(), Stretch()
    if looking:
        worker.look_inside()
    for batch in batches(plan, IngestSettings()):
        worker.handle(batch, stretch)
    return worker, stretch


def calls_of(records: Iterable[Rollup | Tick]) -> int:
    return sum(r.calls for r in records if isinstance(r, Rollup) and r.scope is None)


def test_rollups_hold_nearly_all_of_the_calls_and_time_passes_at_the_pace_of_ingest() -> None:
    records = [[read_rollup(value) for value in batch] for batch in batches(SMALL, IngestSettings())]
    ticks = [r.watermark.timestamp() for batch in records for r in batch if isinstance(r, Tick)]
    sent = SMALL.rate * 60 * SMALL.minutes
    # 1 % are bad, 2 % duplicates, and what came after the last commit is left out.
    assert 0.94 * sent < calls_of(r for batch in records for r in batch) < sent
    assert ticks == sorted(ticks)
    assert ticks[-1] - ticks[0] == pytest.approx(60 * SMALL.minutes, rel=0.1)
    pace = [b - a for a, b in pairwise(ticks)]
    assert sum(pace[:10]) / 10 == pytest.approx(2.0, rel=0.4)
    assert sum(pace[-100:]) / 100 == pytest.approx(0.2, rel=0.4)


def test_a_stretch_counts_what_was_handled_and_what_the_changelog_was_given() -> None:
    worker, stretch = played(SMALL)
    assert stretch.ticks > 0
    assert stretch.woken > 0
    assert {workflow for workflow, _ in stretch.active} == {
        name for name, state in worker.states.items() if state.scope is None
    }
    assert stretch.changelog_bytes > (stretch.rollups + stretch.woken) * min(worker.sizes()) / 4
    assert stretch.judged_s == stretch.apply_s + stretch.encode_s > 0
    assert stretch.read_s > 0


def test_looking_at_the_clock_inside_changes_nothing_but_the_time() -> None:
    plain, _ = played(SMALL)
    timed, stretch = played(SMALL, looking=True)
    for state in timed.states.values():
        state.detectors = {name: getattr(kept, "inner", kept) for name, kept in state.detectors.items()}
    assert {n: codec.encode(s) for n, s in timed.states.items()} == {
        n: codec.encode(s) for n, s in plain.states.items()
    }
    assert timed.watch is not None
    looks = timed.watch.looks
    # What came late is looked at for its traces alone.
    assert looks["live_trace.score"] > looks["unit_cost.may_speak"] > 0.8 * stretch.rollups
    assert looks["live_trace.learn"] == looks["unit_cost.learn"] > 0
    assert 0 < sum(timed.watch.seconds().values()) < stretch.apply_s


def test_the_line_has_every_figure() -> None:
    line = measure(replace(SMALL, inside=0.25))
    assert line["workflows"] == 40
    for figure in (
        "rollups_s",
        "us_per_rollup",
        "us_per_workflow_minute",
        "us_detectors_per_workflow_minute",
        "state_bytes_p50",
        "state_bytes_p99",
        "changelog_mb_s",
        "rss_mb",
        "core_share",
    ):
        assert line[figure] > 0, figure
    assert line["us_detectors_per_workflow_minute"] < line["us_per_workflow_minute"]
    assert line["state_bytes_p50"] <= line["state_bytes_p99"] <= line["state_bytes_max"]

"""The table and the JSON line of a comparison."""

from __future__ import annotations

from benchmarks.contest import Run
from benchmarks.ingest import CONTESTANTS, summary, table
from benchmarks.traffic import Spec

EXTRA = {"rollups_per_event": 0.07, "late": 5, "transactions": 3}
RUNS = {
    "tidegate": Run("tidegate", 1_000, 2.0, 1.0, 90.4, EXTRA),
    "limit": Run("limit", 1_000, 0.5, 0.25, 60.0),
    "faust": Run("faust", 1_000, 20.0, 8.0, 80.0),
    "quix": Run("quix", 1_000, 10.0, 5.0, 300.0),
    "bytewax": Run("bytewax", 1_000, 4.0, 4.0, 700.0),
}


def test_the_line_has_the_ratios_by_the_wall_and_by_cpu_time() -> None:
    line = summary(Spec(1_000), RUNS, 0.5)
    assert set(RUNS) == set(CONTESTANTS)
    assert {name: line[f"{name}_eps"] for name in RUNS} == {
        "tidegate": 500, "limit": 2_000, "faust": 50, "quix": 100, "bytewax": 250
    }  # fmt: skip
    assert {name: line[f"{name}_eps_cpu"] for name in RUNS} == {
        "tidegate": 1_000, "limit": 4_000, "faust": 125, "quix": 200, "bytewax": 250
    }  # fmt: skip
    assert [line[f"ratio_{name}"] for name in ("limit", "faust", "quix", "bytewax")] == [0.25, 10, 5, 2]
    assert [line[f"ratio_cpu_{name}"] for name in ("limit", "faust", "quix", "bytewax")] == [0.25, 8, 5, 4]
    assert (line["rss_mb"], line["rollups_per_event"]) == (90, 0.07)


def test_every_row_has_as_many_cells_as_the_head() -> None:
    runs = {name: run for name, run in RUNS.items() if name != "quix"}
    lines = table(runs, ["quix", "quix", "limit"]).splitlines()
    assert {line.count("|") for line in lines} == {9}
    assert lines[2] == "| **Tidegate ingest**, all of it | 500 |  | 2.0 | 1.0 | 1,000 |  | 90 |"
    assert lines[4] == "| Faust, sum only | 50 | 10.00 × | 20.0 | 8.0 | 125 | 8.00 × | 80 |"
    assert [line.split("|")[1].strip() for line in lines if "no run that counts" in line] == [
        "Quix Streams, sum only"
    ]

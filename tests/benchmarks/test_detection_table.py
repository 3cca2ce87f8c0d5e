"""What is printed of a contest, who counts as the best peer, and when the quick run fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.detection import table
from benchmarks.detection.match import DEFAULTS, OURS, SHIPPED, Entry, Terms, play, thresholds
from benchmarks.detection.peers import PEERS
from benchmarks.detection.scoring import Report, report, tally
from tests.benchmarks.test_detection_scoring import DAY, episode, page, stream


def a_report(recall: float, false: float = 0.0, launches_paged: float = 0.0) -> Report:
    incidents = [episode(start=(4 + i) * DAY) for i in range(2)]
    found = report(tally(stream(*incidents, episode("launch", start=8 * DAY)), [page(4 * DAY + 60)]))
    return replace(
        found,
        material=replace(found.material, recall=recall),
        false_per_month=false,
        launches_paged=launches_paged,
    )


def test_the_table_has_us_first_then_peers_by_recall() -> None:
    reports: dict[Entry, Report] = {
        ("weak", "0.25"): a_report(0.1),
        ("strong", "0.25"): a_report(0.3),
        ("strong", "4"): a_report(0.5),
        (OURS, DEFAULTS): a_report(0.9),
    }
    lines = table.contest(reports, "0.25").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| **tidegate**", "| strong", "| weak"]
    assert len({line.count("|") for line in lines}) == 1
    assert "| 0.90 |" in lines[2]
    assert "1 min" in lines[2] or "60 s" in lines[2]


def test_the_table_of_kinds_has_tails_and_what_is_benign() -> None:
    text = table.kinds(a_report(0.5))
    assert "| retry_loop | 2 | 0.50 | 60 s | 60 s | 60 s |" in text
    assert "| launch | 1 | 0.000 |" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (7.4, "7 s"), (99.4, "99 s"), (120, "2 min"), (7200, "2.0 h")]
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert table.duration(seconds) == text


def test_the_best_peer_in_what_should_be_small_is_one_that_finds_something() -> None:
    reports: dict[Entry, Report] = {
        ("silent", "0.25"): a_report(0.0, 0.0, 0.0),
        ("good", "0.25"): a_report(0.4, 0.3, 0.2),
        ("fair", "0.25"): a_report(0.2, 0.2, 0.1),
        (OURS, DEFAULTS): a_report(0.9),
    }
    best = table.best_peers(reports, "0.25")
    assert best["material_recall"] == {"peer": "good", "value": 0.4}
    assert best["launches_paged"] == {"peer": "fair", "value": 0.1}
    assert "cause_right" not in best


def test_the_quick_run_fails_for_each_way_to_be_no_better() -> None:
    ours = a_report(0.8, 0.5, 0.0)
    reports: dict[Entry, Report] = {
        (OURS, DEFAULTS): ours,
        ("peer", "0.25"): a_report(0.3, 0.1, 0.0),
        ("peer", "4"): a_report(0.5, 3.0, 0.2),
        ("peer", SHIPPED): a_report(1.0, 90.0, 0.9),
    }
    assert table.lost_against(reports, [0.25, 4.0]) == []
    # Held against the peer at four pages a month: the setting at which it has as many as we have.
    worse = reports | {(OURS, DEFAULTS): a_report(0.45, 0.5, 0.0)}
    assert table.lost_against(worse, [0.25, 4.0]) == ["peer: recall 0.450, its 0.500"]
    noisy = reports | {(OURS, DEFAULTS): a_report(0.8, 5.0, 0.3)}
    assert [r.split(": ")[1].split(" ")[0] for r in table.lost_against(noisy, [0.25, 4.0])] == [
        "5.00",
        "0.300",
    ]
    tied = reports | {(OURS, DEFAULTS): a_report(0.8, 0.5, 0.2), ("peer", "4"): a_report(0.5, 3.0, 0.2)}
    assert table.lost_against(tied, [0.25, 4.0]) == ["peer: 0.200 of launches paged, its 0.200"]


def test_peers_play_on_held_out_clients_with_thresholds_of_others() -> None:
    terms = Terms(seed=1, count=2, variants=1, budgets=(1.0, 4.0), ours=False, max_calls=3_000)
    limits = thresholds(terms, processes=1)
    assert set(limits) >= {(p.name, setting) for p in PEERS for setting in ("1", "4")}
    assert all(limits[p.name, "4"] <= limits[p.name, "1"] for p in PEERS)
    played = play(terms, limits, processes=1)
    assert set(played.tallies) == set(limits)
    clients = {w.client for found in played.tallies.values() for w in found.watched}
    assert len(clients) == 2
    assert all(len(found.watched) == 4 for found in played.tallies.values())
    assert played.calls > 0


def test_seeds_stand_side_by_side_with_how_far_they_lie_apart() -> None:
    lines = table.over_seeds({1: a_report(0.8), 2: a_report(0.9)}).splitlines()
    assert lines[0] == "| figure | seed 1 | seed 2 | mean | standard deviation |"
    assert "| material_recall | 0.800 | 0.900 | 0.850 | 0.071 |" in lines

"""Ours and the peers on the same few clients, at the size that fits into every test run."""

from __future__ import annotations

from pathlib import Path

from benchmarks.detection import table
from benchmarks.detection.kept import Kept
from benchmarks.detection.labelled import chosen, of_client
from benchmarks.detection.match import DEFAULTS, OURS, Terms, play, thresholds
from benchmarks.detection.scoring import report
from benchmarks.detection.stage import alerts_at, alerts_of

BUDGETS = (0.25, 1.0, 4.0)


def test_we_beat_every_peer_on_a_few_held_out_clients() -> None:
    terms = Terms(seed=1, count=4, variants=1, budgets=BUDGETS, tuned=False, max_calls=3_000)
    played = play(terms, thresholds(terms, processes=1), processes=1)
    reports = {entry: report(found) for entry, found in played.tallies.items()}
    ours = reports[OURS, DEFAULTS]
    assert ours.material.n >= 10, "too few incidents to say anything"
    assert ours.launches >= 5
    assert table.lost_against(reports, BUDGETS) == []


def test_one_reading_judged_at_several_budgets_is_as_several_readings() -> None:
    client = chosen("held_out", 3)[1]
    *_, stream = of_client(client, 2, variants=1, max_calls=1_000)
    budgets = [None, 0.25, 4.0]
    assert alerts_at(stream, budgets) == [alerts_of(stream, budget) for budget in budgets]


def test_what_was_played_is_not_played_again(tmp_path: Path) -> None:
    kept, times = Kept(tmp_path / "code"), []

    def work() -> int:
        times.append(1)
        return len(times)

    assert [kept.once("a", work), kept.once("a", work), kept.once("b", work)] == [1, 1, 2]
    assert Kept(tmp_path / "other code").once("a", work) == 3
    assert Kept.of_present_code(tmp_path) == Kept.of_present_code(tmp_path)


def test_a_match_out_of_what_was_kept_is_the_same(tmp_path: Path) -> None:
    terms = Terms(seed=1, count=1, variants=1, budgets=(1.0,), ours=False, max_calls=500)
    kept = Kept(tmp_path)
    limits = thresholds(terms, 1, kept)
    first = play(terms, limits, 1, kept)
    assert thresholds(terms, 1, kept) == limits
    assert play(terms, limits, 1, kept).cpu_s == first.cpu_s, "times were not measured again"
    assert {entry: report(found) for entry, found in first.tallies.items()} == {
        entry: report(found) for entry, found in play(terms, limits, 1).tallies.items()
    }

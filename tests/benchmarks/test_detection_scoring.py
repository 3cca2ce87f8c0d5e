"""Recall, delay, losses and false pages, each counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detection.scoring import GRACE_S, MONTH_S, Tally, report, sufficient_traffic, tally
from benchmarks.detection.spread import intervals
from benchmarks.detection.stream import Calls, Episode, Page, Stream

DAY = 86_400.0
DOLLAR = 1_000_000_000


def calls_at(*times: float, traces: list[int] | None = None, dollars: float = 1.0) -> Calls:
    n = len(times)
    zeros = np.zeros(n, dtype=np.int64)
    return Calls(
        t=np.array(times, dtype=np.float64),
        trace=np.array(traces if traces is not None else range(n), dtype=np.int64),
        customer=zeros,
        key=zeros,
        model=zeros,
        input=zeros,
        cached=zeros,
        output=zeros,
        cost=np.full(n, round(dollars * DOLLAR), dtype=np.int64),
        error=np.zeros(n, dtype=bool),
        injected=np.zeros(n, dtype=bool),
    )


def episode(
    kind: str = "retry_loop", start: float = 5 * DAY, hours: float = 2, dollars: float = 60.0
) -> Episode:
    """Its excess comes in three equal parts, at the start and one and two quarters in."""
    end = start + hours * 3600
    steps = np.array([start, start + (end - start) / 4, start + (end - start) / 2])
    benign = kind in ("launch", "growth", "dip", "backfill")
    return Episode(
        kind=kind,
        benign=benign,
        size=5,
        share=1,
        start=start,
        end=end,
        excess_nanos=0 if benign else round(dollars * DOLLAR),
        excess_t=np.empty(0) if benign else steps,
        excess_sum=np.empty(0, dtype=np.int64)
        if benign
        else np.array([dollars / 3, dollars / 1.5, dollars], dtype=np.float64).round().astype(np.int64)
        * DOLLAR,
        causes=frozenset({"retry_loop", "runaway_trace"}),
    )


def stream(*episodes: Episode, client: str = "c", calls: Calls | None = None) -> Stream:
    return Stream(
        workflow=f"{client}-w",
        client=client,
        split="held_out",
        start=0.0,
        end=14 * DAY,
        warm_until=3 * DAY,
        calls=calls or calls_at(),
        episodes=episodes,
    )


def page(at: float, kind: str = "retry_loop", severity: str = "critical") -> Page:
    return Page(at=at, started=at, kind=kind, severity=severity, excess_nanos=0, score=9.0)


def test_an_incident_is_caught_by_the_first_critical_page_within_it() -> None:
    e = episode()
    (outcome,) = tally(
        stream(e), [page(e.start + 60, severity="warning"), page(e.start + 90, "creep"), page(e.start + 120)]
    ).outcomes
    assert outcome.delay_s == 90
    assert outcome.cause_right is False
    assert outcome.lost_nanos == 20 * DOLLAR


@pytest.mark.parametrize("offset", [-1.0, 2 * 3600 + 1.0])
def test_what_fired_before_it_or_after_it_does_not_count(offset: float) -> None:
    e = episode()
    (outcome,) = tally(stream(e), [page(e.start + offset)]).outcomes
    assert outcome.page is None
    assert outcome.cause_right is None
    assert outcome.lost_nanos == e.excess_nanos


def test_pages_at_both_ends_count() -> None:
    e = episode()
    assert report(tally(stream(e), [page(e.start)])).material.recall == 1.0
    assert report(tally(stream(e), [page(e.end)])).material.recall == 1.0


def test_incidents_below_five_dollars_are_left_out_and_from_fifty_on_are_large() -> None:
    listed = [episode(start=s * DAY, dollars=d) for s, d in ((4, 3), (6, 9), (8, 60))]
    found = report(tally(stream(*listed), [page(listed[2].start)]))
    assert (found.material.n, found.material.recall) == (2, 0.5)
    assert (found.large_n, found.large_recall) == (1, 1.0)


def test_losses_are_pooled_and_also_taken_per_incident() -> None:
    small, big = episode(start=4 * DAY, dollars=9), episode(start=6 * DAY, dollars=60)
    found = report(tally(stream(small, big), [page(big.start + 1)])).material
    # All nine of the missed one, and a third of sixty.
    assert found.lost_share == pytest.approx((9 + 20) / 69)
    assert found.lost_median == pytest.approx((1 + 1 / 3) / 2)


def test_delays_have_a_median_and_tails() -> None:
    listed = [episode(start=(4 + i) * DAY) for i in range(3)]
    pages = [page(e.start + wait) for e, wait in zip(listed, (10, 20, 120), strict=True)]
    row = report(tally(stream(*listed), pages)).kinds["retry_loop"]
    assert [row.delay_p50, row.delay_p90, row.delay_max] == [20, pytest.approx(100), 120]
    assert row.cause_right == 1.0


def test_false_pages_are_critical_ones_on_clean_streams_after_the_warm_up() -> None:
    pages = [page(DAY), page(4 * DAY), page(5 * DAY, severity="warning"), page(6 * DAY)]
    found = report(tally(stream(), pages))
    assert found.clean_months == pytest.approx(11 * DAY / MONTH_S)
    assert found.false_per_month == pytest.approx(2 / (11 / 30))
    assert found.outside_per_month is None


def test_pages_outside_of_episodes_are_counted_apart() -> None:
    e = episode()
    pages = [page(e.start - 1), page(e.start + 1), page(e.end + GRACE_S - 1), page(e.end + GRACE_S + 1)]
    found = report(tally(stream(e), pages))
    assert found.false_per_month is None
    assert found.outside_per_month == pytest.approx(2 * MONTH_S / (11 * DAY - 3 * 3600))


def test_a_launch_is_paged_until_an_hour_after_it_and_noticed_by_a_notice() -> None:
    launches = [episode("launch", start=(4 + 2 * i) * DAY) for i in range(4)]
    pages = [
        page(launches[0].end + GRACE_S - 1),
        page(launches[1].start + 60, "launch", "info"),
        page(launches[2].start + 60, "creep", "info"),
    ]
    found = report(tally(stream(*launches), pages))
    assert (found.launches, found.launches_paged, found.launches_noticed) == (4, 0.25, 0.5)
    assert found.material.n == 0
    assert found.material.recall is None


def test_other_benign_kinds_are_counted_each() -> None:
    dip, growth = episode("dip", start=4 * DAY), episode("growth", start=8 * DAY)
    assert report(tally(stream(dip, growth), [page(dip.start + 1)])).benign == {
        "dip": (1, 1.0),
        "growth": (1, 0.0),
    }


def test_traffic_suffices_from_240_traces_in_the_hour_before() -> None:
    e = episode()
    times = list(np.linspace(e.start - 3600, e.start - 1, 240))
    assert sufficient_traffic(stream(e, calls=calls_at(*times))) == [True]
    assert sufficient_traffic(stream(e, calls=calls_at(*times[1:]))) == [False]
    # Calls of one trace are one trace; without a trace each is its own.
    assert sufficient_traffic(stream(e, calls=calls_at(*times, traces=[7] * 240))) == [False]
    assert sufficient_traffic(stream(e, calls=calls_at(*times, traces=[-1] * 240))) == [True]
    assert sufficient_traffic(stream()) == []


def test_delay_at_sufficient_traffic_is_reported_apart() -> None:
    e, quiet = episode(start=5 * DAY), episode(start=9 * DAY)
    busy = calls_at(*np.linspace(e.start - 3600, e.start - 1, 500))
    row = report(tally(stream(e, quiet, calls=busy), [page(e.start + 30), page(quiet.start + 900)])).material
    assert (row.sufficient_n, row.sufficient_recall, row.sufficient_p50) == (1, 1.0, 30)


def test_tallies_add_up_and_keep_no_columns() -> None:
    parts = [tally(stream(episode(), client=c), [page(5 * DAY)] if c == "a" else []) for c in "ab"]
    found = Tally.joined(parts)
    assert report(found).material.recall == 0.5
    assert all(len(o.episode.excess_t) == len(o.episode.excess_sum) == 0 for o in found.outcomes)


def test_the_spread_is_over_clients_and_encloses_the_figure() -> None:
    parts = [tally(stream(episode(), client=f"c{i}"), [page(5 * DAY)] if i % 2 else []) for i in range(20)]
    found = intervals(Tally.joined(parts))
    low, high = found["material_recall"]
    assert 0.2 < low < 0.5 < high < 0.8
    assert "launches_paged" not in found
    one = intervals(Tally.joined([replace(parts[1])]))
    assert one["material_recall"] == (1.0, 1.0)

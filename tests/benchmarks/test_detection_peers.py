"""Peers look only backwards, see a spike, and are given the threshold that keeps to the budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detection.paging import pages_of, threshold_for
from benchmarks.detection.peers import PEERS, Minutes, Peer, Scores, minutes_of
from benchmarks.detection.peers.forest import displacement
from benchmarks.detection.peers.series import DAY, trailing_quantile, trailing_sum
from benchmarks.detection.peers.spot import surprise, tail
from benchmarks.detection.scoring import MONTH_S
from tests.benchmarks.test_detection_scoring import calls_at, stream

DAYS = 12
SPIKE = 10 * DAY + 600


def fortnight(seed: int = 3) -> Minutes:
    """Twelve days with a daily wave, about ten dollars an hour."""
    rng = np.random.default_rng(seed)
    n = DAYS * DAY
    rate = 3 * (1 + 0.5 * np.sin(2 * np.pi * np.arange(n) / DAY))
    calls = rng.poisson(rate).astype(np.float64)
    spend = calls * rng.gamma(20, 0.05 / 20, n)
    return Minutes(start=0.0, warm_until=3 * DAY * 60.0, spend=spend, calls=calls, traces=np.ceil(calls / 2))


def spiked(minutes: Minutes, hours: int = 9) -> Minutes:
    """The same with spend and cost per trace at forty times from `SPIKE` on."""
    spend = minutes.spend.copy()
    spend[SPIKE : SPIKE + 60 * hours] *= 40
    return replace(minutes, spend=spend)


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.name)
def test_a_score_does_not_know_what_comes_later(peer: Peer) -> None:
    usual, changed = peer.score(fortnight()), peer.score(spiked(fortnight()))
    before = usual.at <= SPIKE * 60.0
    np.testing.assert_array_equal(usual.score[before], changed.score[before])
    assert before.sum() > 20
    assert len(usual.at) == len(usual.score)
    assert (np.diff(usual.at) > 0).all()
    assert not np.isnan(usual.score).any()


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.name)
def test_each_peer_sees_a_spike_of_forty_times(peer: Peer) -> None:
    clean = [(peer.score(fortnight(seed)), 3 * DAY * 60.0) for seed in (4, 5)]
    limit = threshold_for(clean, 0.25)
    assert not any(p.at > warm for s, warm in clean for p in pages_of(s, limit))
    scores = peer.score(spiked(fortnight()))
    pages = [p for p in pages_of(scores, limit) if p.at > SPIKE * 60.0]
    assert pages, "paged nothing"
    assert pages[0].at <= (SPIKE + 9 * 60) * 60.0 + scores.hold_s


@pytest.mark.parametrize("peer", PEERS, ids=lambda p: p.name)
def test_silence_is_no_incident(peer: Peer) -> None:
    minutes = fortnight()
    for at in (2 * DAY, 0):
        quiet = np.where(np.arange(len(minutes)) < at, 1.0, 0.0)
        silent = replace(
            minutes, spend=minutes.spend * quiet, calls=minutes.calls * quiet, traces=minutes.traces * quiet
        )
        scores = peer.score(silent)
        assert not np.isnan(scores.score).any()
        assert scores.score[scores.at > 11 * DAY * 60.0].max() <= 1.0


def test_minutes_are_sums_of_calls() -> None:
    calls = calls_at(0.0, 59.0, 61.0, 62.0, 185.0, traces=[1, 1, 1, 2, -1], dollars=0.5)
    minutes = minutes_of(replace(stream(), calls=calls, end=240.0))
    assert minutes.spend.tolist() == [1.0, 1.0, 0.0, 0.5]
    assert minutes.calls.tolist() == [2.0, 2.0, 0.0, 1.0]
    assert minutes.traces.tolist() == [1.0, 1.0, 0.0, 1.0]
    assert minutes.ends(2).tolist() == [120.0, 240.0]


def test_windows_trail() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0])
    assert trailing_sum(values, 2).tolist() == [1.0, 3.0, 6.0, 12.0]
    assert trailing_quantile(np.array([5.0, np.nan, 1.0, 9.0]), 3).tolist() == [5.0, 5.0, 1.0, 1.0]


def test_exceedances_within_the_hold_are_one_page() -> None:
    at = np.array([0.0, 600.0, 2400.0, 4260.0, 9000.0])
    scores = Scores(at, np.array([5.0, 1.0, 6.0, 7.0, 8.0]), hold_s=1800.0)
    assert [p.at for p in pages_of(scores, 4.0)] == [0.0, 2400.0, 4260.0, 9000.0]
    assert [p.at for p in pages_of(scores, 0.0)] == [0.0, 4260.0, 9000.0]
    assert pages_of(scores, 8.0) == []


def test_the_threshold_is_the_lowest_within_budget() -> None:
    at = np.arange(1, 7, dtype=np.float64) * DAY * 60
    scores = Scores(at, np.array([9.0, 5.0, 1.0, 3.0, 2.0, 4.0]), hold_s=60.0)
    months = float(at[-1] - at[0]) / MONTH_S
    # The highest score lies in the warm-up: what is left is 5, 1, 3, 2, 4.
    warm = at[0] + 1
    assert threshold_for([(scores, warm)], 0.0) == 5.0
    assert threshold_for([(scores, warm)], 1.01 / months) == 4.0
    assert threshold_for([(scores, warm)], 2.01 / months) == 3.0
    assert threshold_for([(scores, warm)], 99.0 / months) == 1.0


def test_a_peer_that_says_nothing_gets_no_threshold() -> None:
    scores = Scores(np.array([60.0, 120.0]), np.array([-np.inf, -np.inf]), hold_s=60.0)
    assert threshold_for([(scores, 0.0)], 1.0) == np.inf


def test_a_point_far_outside_displaces_the_whole_tree_and_one_inside_little() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0, 1, (30, 64, 2))
    points = np.broadcast_to(np.array([[1000.0, 1000.0], [0.0, 0.0]]), (30, 2, 2))
    far, near = displacement(samples, points, rng).mean(axis=0)
    assert far == pytest.approx(64, rel=0.02)
    assert near < 8


def test_a_point_equal_to_all_others_displaces_nothing() -> None:
    same = np.ones((2, 8, 3))
    assert displacement(same, same[:, :1], np.random.default_rng(1)).tolist() == [[0.0], [0.0]]


def test_the_tail_of_exponential_excesses_has_no_shape() -> None:
    excesses = np.random.default_rng(1).exponential(2.0, 20_000).tolist()
    shape, scale = tail(excesses)
    assert shape == pytest.approx(0.0, abs=0.02)
    assert scale == pytest.approx(2.0, rel=0.05)
    # One in fifty lies over the threshold, and one in e² of these is two scales above it.
    assert surprise(10 + 4.0, 10.0, 0.0, 2.0, 0.02) == pytest.approx(-np.log10(0.02 * np.exp(-2)))
    assert surprise(10.0, 10.0, 0.0, 2.0, 0.02) == 0.0
    assert surprise(14.0, 10.0, 0.4, 2.0, 0.02) < surprise(14.0, 10.0, 0.0, 2.0, 0.02)


def test_the_tail_of_equal_excesses_is_no_cliff() -> None:
    assert tail([3.0, 3.0]) == (0.0, 3.0)
    assert tail([0.001]) == (0.0, 0.1)

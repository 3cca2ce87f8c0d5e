"""A random cut forest over shingles of spend, with trees of bounded size that are grown anew every six hours.

S. Guha, N. Mishra, G. Roy, O. Schrijvers: Robust Random Cut Forest Based Anomaly Detection on Streams, ICML 2016,
https://proceedings.mlr.press/v48/guha16.html. The paper inserts and deletes points one by one; here each tree holds
a sample of the trailing week and a new point's score is the expected displacement if it were inserted: the mass it
would push down at the cut that isolates it, over the mass of its own (one). All trees of all times are grown
together, level by level, in arrays.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.detection.peers.series import WEEK, Minutes, Scores, scored, stepped, trailing_quantile
from benchmarks.detection.stream import Floats

STEP: Final = 10
_SHINGLE: Final = 4
_TREES: Final = 20
_SAMPLE: Final = 96
_REGROWN: Final = 36
_WARM: Final = 2 * 144
_DEPTH: Final = 24


def displacement(samples: Floats, points: Floats, rng: np.random.Generator) -> Floats:
    """Expected displacement of points by trees that each cut their own sample.

    Parameters
    ----------
    samples : array of shape (trees, size, features)
    points : array of shape (trees, n, features)
        Each tree scores its own n.

    Returns
    -------
    array of shape (trees, n)
    """
    trees, size, wide = samples.shape
    n = points.shape[1]
    data, query = samples.reshape(-1, wide), points.reshape(-1, wide)
    owner = np.repeat(np.arange(trees), size)
    node, at = owner, np.repeat(np.arange(trees), n)
    which = np.arange(len(query))
    alive, total = np.ones(len(query)), np.zeros(len(query))
    for _ in range(_DEPTH):
        # Nodes are numbered without gaps, and every query sits in a node that has data.
        order = np.argsort(node, kind="stable")
        data, node, owner = data[order], node[order], owner[order]
        starts = np.flatnonzero(np.diff(node, prepend=-1))
        low, high = np.minimum.reduceat(data, starts), np.maximum.reduceat(data, starts)
        mass = np.diff(np.append(starts, len(node)))
        span = high - low
        # A point is isolated here with the share of the widened box that lies outside of the node's own.
        reach = (np.maximum(low[at] - query, 0) + np.maximum(query - high[at], 0)).sum(axis=1)
        box = span[at].sum(axis=1) + reach
        cut = np.divide(reach, box, out=np.zeros(len(box)), where=box > 0)
        total[which] += alive * cut * mass[at]
        alive *= 1 - cut
        each = np.arange(len(starts))
        # Nodes of one value are leaves; the others are cut along a dimension drawn by its share of the box.
        along = np.cumsum(span, axis=1)
        splits = along[:, -1] > 0
        going = splits[at] & (alive > 1e-6)
        if not going.any():
            break
        # Drawn by tree and place within it, so that no tree's luck depends on what another holds.
        tree = owner[starts]
        place = rng.random((trees, size))[tree, each - np.searchsorted(tree, tree)] * along[:, -1]
        axis = np.minimum((along <= place[:, None]).sum(axis=1), wide - 1)
        ceiling = np.nextafter(high[each, axis], low[each, axis])
        value = np.minimum(low[each, axis] + along[each, axis] - place, ceiling)
        inner = splits[node]
        data, node, owner = data[inner], node[inner], owner[inner]
        query, at, which, alive = query[going], at[going], which[going], alive[going]
        node = 2 * node + (data[np.arange(len(node)), axis[node]] > value[node])
        at = 2 * at + (query[np.arange(len(at)), axis[at]] > value[at])
        numbers, node = np.unique(node, return_inverse=True)
        at = np.searchsorted(numbers, at)
    return total.reshape(trees, n)


def random_cut(minutes: Minutes) -> Scores:
    """Displacement of the last 40 minutes' spend (a shingle of four), where it is more than the week's median.

    Each tree's sample is drawn from the trailing week up to six hours before at most. Needs two days.
    """
    spend = stepped(minutes.spend, STEP)
    score = np.full(len(spend), np.nan)
    shingles = np.stack([np.roll(spend, k) for k in range(_SHINGLE)], axis=1)
    begins = range(_WARM, len(spend) - _REGROWN + 1, _REGROWN)
    if len(begins) == 0:
        return scored(minutes, STEP, score)
    rng = np.random.default_rng(1)
    samples, points = [], []
    for begin in begins:
        past = shingles[max(begin - WEEK // STEP, _SHINGLE) : begin]
        samples.append(past[rng.integers(0, len(past), (_TREES, _SAMPLE))])
        points.append(np.broadcast_to(shingles[begin : begin + _REGROWN], (_TREES, _REGROWN, _SHINGLE)))
    moved = displacement(np.concatenate(samples), np.concatenate(points), rng)
    mean = moved.reshape(len(begins), _TREES, _REGROWN).mean(axis=1).reshape(-1)
    end = _WARM + len(mean)
    usual = trailing_quantile(spend, WEEK // STEP)[_WARM:end]
    score[_WARM:end] = np.where(spend[_WARM:end] > usual, mean, 0.0)
    return scored(minutes, STEP, score)

"""Intervals of clustered counts: what the trials' own clusters say where too little happened to say it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moderation.release.shares import Events, Share, Tried, interval, share


def shares(sizes: Sequence[int], hits: Sequence[int] = (), *, chunk: int = 7) -> Share:
    """So many items a cluster, of which so many are hit, counted a few at a time; items of clusters of one are alone."""
    cluster = np.repeat(np.arange(len(sizes)), sizes).astype(np.uint64)
    mark = np.where(np.repeat(np.array(sizes) == 1, sizes), cluster, np.arange(len(cluster)) + 10_000).astype(np.uint64)
    events, tried = Events(), Tried()
    for first in range(0, len(cluster), chunk):
        part = slice(first, first + chunk)
        tried.add(np.zeros(len(cluster[part]), np.int64), mark[part], cluster[part])
    for name, count in enumerate(hits):
        events.add(np.zeros(count, np.int64), np.full(count, name, np.uint64))
    (found,) = events.shares(*tried.result(1))
    return found


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=40)


@given(SIZES)
def test_where_nothing_was_hit_the_interval_is_no_narrower_than_that_of_as_many_items_as_clusters(
    sizes: list[int],
) -> None:
    found, apart = shares(sizes), share(0, len(sizes))
    assert (found.hits, found.trials, found.low) == (0, sum(sizes), 0.0)
    assert found.high >= apart.high - 1e-12


def test_three_hundred_pictures_of_one_object_are_one_item() -> None:
    assert shares([300]).high == pytest.approx(share(0, 1).high)
    assert shares([300], [1]).high > 0.9


@given(SIZES, st.data())
def test_of_a_few_hit_clusters_no_more_than_the_trials_are_worth_counts(sizes: list[int], data: st.DataObject) -> None:
    hits = [data.draw(st.integers(0, size)) if place < 9 else 0 for place, size in enumerate(sizes)]
    found, worth = shares(sizes, hits), sum(sizes) ** 2 / sum(size**2 for size in sizes)
    value = sum(hits) / sum(sizes)
    low, high = interval(value * worth, worth)
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9


@given(st.integers(1, 300), st.data())
def test_where_every_item_is_alone_the_interval_is_the_exact_one(count: int, data: st.DataObject) -> None:
    hit = data.draw(st.integers(0, count))
    found, apart = shares([1] * count, [1] * hit), share(hit, count)
    assert (found.low, found.high) == pytest.approx((apart.low, apart.high))


def test_intervals_of_rare_hits_in_few_large_clusters_cover() -> None:
    """A cluster's items are all alike: most samples hit none of twelve, and the interval must hold the truth all the same."""
    rng, runs, covered = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        sizes = rng.geometric(0.05, size=12)
        found = shares(sizes.tolist(), np.where(rng.random(12) < 0.1, sizes, 0).tolist(), chunk=1000)
        covered += found.low <= 0.1 <= found.high
    assert binomtest(covered, runs, 0.95, alternative="less").pvalue > 1e-4

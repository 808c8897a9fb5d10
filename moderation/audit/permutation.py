"""A permutation test of the largest difference between groups, with the cluster as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderation.audit.sample import Codes, Floats

DRAWS = 1999
_CHUNK = 4_000_000  # of drawn counts held at once


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Items of `count` groups: group, event, cluster, each [n]."""

    codes: Codes
    event: Floats
    cluster: Codes
    count: int


def permutation_p(
    codes: Codes, event: Floats, cluster: Codes, *, groups: Sequence[int], seed: int, draws: int = DRAWS
) -> float:
    """How often a largest difference as this one comes by chance where groups do not matter, in (0, 1]; 1 for fewer than two groups.

    Differences are over their standard errors, up to a common factor. Where groups mix inside clusters, labels change places inside
    each cluster; else all items of one cluster and group change groups together, so that the cluster stays the unit.
    """
    keep = np.isin(codes, groups)
    rows = _Rows(np.searchsorted(np.sort(groups), codes[keep]), event[keep], cluster[keep], len(groups))
    if rows.count < 2 or not len(rows.codes):
        return 1.0
    random = np.random.default_rng(seed)
    observed = _statistic(_sums(rows.codes, rows.event, rows.count), _sizes(rows.codes, rows.count))
    drawn = _within(rows, draws, random) if _groups_mix(rows) else _between(rows, draws, random)
    # Ties count as larger; the tolerance keeps sums in another order from breaking them.
    return (1.0 + float((drawn >= observed - 1e-9).sum())) / (draws + 1.0)


def _groups_mix(rows: _Rows) -> bool:
    """Whether most clusters of several items hold several groups."""
    table = _table(rows, np.ones(len(rows.codes)))
    several = (table > 0).sum(axis=1) > 1
    return bool(several.any() and several.sum() * 2 > (table.sum(axis=1) > 1).sum())


def _within(rows: _Rows, draws: int, random: np.random.Generator) -> Floats:
    """Each cluster's events are dealt among its own items; only where a cluster has both kinds, in several groups, can they move."""
    items, events = _table(rows, np.ones(len(rows.codes))), _table(rows, rows.event)
    total, hits = items.sum(axis=1), events.sum(axis=1)
    moving = (hits > 0) & (hits < total) & ((items > 0).sum(axis=1) > 1)
    fixed = events[~moving].sum(axis=0)
    found = []
    for size in _chunks(draws, max(int(moving.sum()), 1) * rows.count):
        sample = np.broadcast_to(hits[moving], (size, int(moving.sum())))
        dealt = _deal(np.broadcast_to(items[moving], (*sample.shape, rows.count)), sample, random)
        found.append(fixed + dealt.sum(axis=1))
    return _statistic(np.concatenate(found), np.broadcast_to(items.sum(axis=0), (draws, rows.count)))


def _between(rows: _Rows, draws: int, random: np.random.Generator) -> Floats:
    """Blocks of one cluster and group change groups; those of one size with as many events are alike, so their numbers are dealt."""
    items, events = _table(rows, np.ones(len(rows.codes))), _table(rows, rows.event)
    places = np.nonzero(items)
    groups = np.bincount(places[1], minlength=rows.count).astype(np.float64)
    kinds, counts = np.unique(np.stack([items[places], events[places]], axis=1), axis=0, return_counts=True)
    left = np.broadcast_to(groups, (draws, rows.count))
    size, hits = np.zeros((draws, rows.count)), np.zeros((draws, rows.count))
    for (width, event), count in zip(kinds, counts, strict=True):
        dealt = _deal(left, np.full(draws, float(count)), random)
        left = left - dealt
        size += width * dealt
        hits += event * dealt
    return _statistic(hits, size)


def _deal(places: Floats, sample: Floats, random: np.random.Generator) -> Floats:
    """How many of `sample` [...] land in each of the `places` [..., k], drawn without replacement: a multivariate hypergeometric draw."""
    dealt = np.zeros(places.shape)
    rest, left = places.sum(axis=-1), sample
    for group in range(places.shape[-1]):
        here = places[..., group]
        rest = rest - here
        some = (here > 0) & (left > 0)
        counts = (one[some].astype(np.int64) for one in (here, rest, left))
        dealt[..., group][some] = random.hypergeometric(*counts)
        left = left - dealt[..., group]
    return dealt


def _table(rows: _Rows, weight: Floats) -> Floats:
    """Sums of `weight` by cluster and group."""
    _, unit = np.unique(rows.cluster, return_inverse=True)
    units = int(unit.max()) + 1
    found = np.bincount(unit * rows.count + rows.codes, weight, units * rows.count).reshape(units, rows.count)
    return found.astype(np.float64)


def _sums(codes: Codes, weight: Floats, count: int) -> Floats:
    return np.bincount(codes, weight, count).astype(np.float64)


def _sizes(codes: Codes, count: int) -> Floats:
    return np.bincount(codes, minlength=count).astype(np.float64)


def _statistic(events: Floats, items: Floats) -> Floats:
    """The largest standardised difference between two groups; over the last axis, empty groups left out."""
    rate = np.divide(events, items, out=np.full(np.shape(events), np.nan), where=items > 0)
    weight = np.divide(1.0, items, out=np.full(np.shape(items), np.nan), where=items > 0)
    largest = np.zeros(np.shape(events)[:-1])
    for group in range(1, np.shape(events)[-1]):  # all pairs at once would not fit where there are hundreds of groups
        apart = np.abs(rate[..., group, None] - rate[..., :group])
        scaled = apart / np.sqrt(weight[..., group, None] + weight[..., :group])
        largest = np.maximum(largest, np.nan_to_num(scaled).max(axis=-1))
    return largest


def _chunks(draws: int, width: int) -> list[int]:
    step = max(_CHUNK // width, 1)
    return [min(step, draws - start) for start in range(0, draws, step)]

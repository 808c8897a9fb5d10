"""A permutation test of the largest difference between groups, with the cluster as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderation.audit.sample import Codes, Flags, Floats

DRAWS = 1999
_CHUNK = 4_000_000  # of drawn counts held at once


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Items and events of each cluster and group, float64 [clusters, groups]."""

    items: Floats
    events: Floats

    def of(self, clusters: Flags) -> _Tables:
        return _Tables(self.items[clusters], self.events[clusters])


def permutation_p(
    codes: Codes, event: Floats, cluster: Codes, *, groups: Sequence[int], seed: int, draws: int = DRAWS
) -> float:
    """How often a largest difference as this one comes by chance where groups do not matter, in (0, 1]; 1 for fewer than two groups.

    Whole clusters of one group change groups with each other; inside a cluster of several, its items do. This assumes that, were
    groups not to matter, one-group clusters are exchangeable, and so are the items of one cluster (whole-block and within-block
    exchangeability; Winkler et al. 2015, NeuroImage 123). What sets one-group clusters apart from the others is no evidence in
    it. So where there are both, all items of one cluster and group change groups together in a second test, which assumes that items of
    one cluster are no less alike than others; the smaller p counts, doubled (Bonferroni).
    """
    keep = np.isin(codes, groups)
    if len(groups) < 2 or not keep.any():
        return 1.0
    tables = _count(np.searchsorted(np.sort(groups), codes[keep]), event[keep], cluster[keep], len(groups))
    alone = (tables.items > 0).sum(axis=1) == 1
    ways = [alone] if alone.all() or not alone.any() else [alone, np.ones_like(alone)]
    random = np.random.default_rng(seed)
    # As many more draws, so that the smallest p there can be stays what it is.
    return min(len(ways) * min(_p(tables, whole, draws * len(ways), random) for whole in ways), 1.0)


def _p(tables: _Tables, whole: Flags, draws: int, random: np.random.Generator) -> float:
    """The p value where what a cluster has of one group moves as a whole in the clusters `whole`, and item by item in the others."""
    hits, sizes = _between(tables.of(whole), draws, random)
    dealt, rest = _within(tables.of(~whole), draws, random), tables.items[~whole].sum(axis=0)
    events = np.vstack([tables.events.sum(axis=0), hits + dealt])
    found = _statistic(events, np.vstack([tables.items.sum(axis=0), sizes + rest]))
    # Ties count as larger; the tolerance keeps sums in another order from breaking them.
    return (1.0 + float((found[1:] >= found[0] - 1e-9).sum())) / (draws + 1.0)


def _within(tables: _Tables, draws: int, random: np.random.Generator) -> Floats:
    """Each cluster's events are dealt among its own items; only where a cluster has both kinds, in several groups, can they move."""
    total, hits = tables.items.sum(axis=1), tables.events.sum(axis=1)
    moving = (hits > 0) & (hits < total) & ((tables.items > 0).sum(axis=1) > 1)
    fixed, items = tables.events[~moving].sum(axis=0), tables.items[moving]
    found = []
    for size in _chunks(draws, max(items.size, 1)):
        sample = np.broadcast_to(hits[moving], (size, len(items)))
        found.append(fixed + _deal(np.broadcast_to(items, (size, *items.shape)), sample, random).sum(axis=1))
    return np.concatenate(found)


def _between(tables: _Tables, draws: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Events and items by group where what a cluster has of one group changes groups; those of one size with as many events are alike, so their numbers are dealt."""
    places, count = np.nonzero(tables.items), tables.items.shape[1]
    groups = np.bincount(places[1], minlength=count).astype(np.float64)
    parts = np.stack([tables.items[places], tables.events[places]], axis=1)
    kinds, counts = np.unique(parts, axis=0, return_counts=True)
    left = np.broadcast_to(groups, (draws, count))
    size, hits = np.zeros((draws, count)), np.zeros((draws, count))
    for (width, event), many in zip(kinds, counts, strict=True):
        dealt = _deal(left, np.full(draws, float(many)), random)
        left = left - dealt
        size += width * dealt
        hits += event * dealt
    return hits, size


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


def _count(codes: Codes, event: Floats, cluster: Codes, groups: int) -> _Tables:
    _, unit = np.unique(cluster, return_inverse=True)
    shape = (int(unit.max()) + 1, groups)
    items, events = (
        np.bincount(unit * groups + codes, weight, shape[0] * groups).reshape(shape).astype(np.float64)
        for weight in (np.ones(len(codes)), event)
    )
    return _Tables(items, events)


def _statistic(events: Floats, items: Floats) -> Floats:
    """Of each way to group, what was seen among them [ways, k], the largest standardised difference of two groups; empty groups left out.

    Rates count from their mean over all ways: where groups lie in unlike clusters, chance alone holds them apart.
    """
    rate = np.divide(events, items, out=np.full(np.shape(events), np.nan), where=items > 0)
    rate -= rate.mean(axis=0)
    weight = np.divide(1.0, items, out=np.full(np.shape(items), np.nan), where=items > 0)
    largest = np.zeros(len(events))
    for group in range(1, np.shape(events)[-1]):  # all pairs at once would not fit where there are hundreds of groups
        apart = np.abs(rate[..., group, None] - rate[..., :group])
        scaled = apart / np.sqrt(weight[..., group, None] + weight[..., :group])
        largest = np.maximum(largest, np.nan_to_num(scaled).max(axis=-1))
    return largest


def _chunks(draws: int, width: int) -> list[int]:
    step = max(_CHUNK // width, 1)
    return [min(step, draws - start) for start in range(0, draws, step)]

"""A permutation test of the largest difference between groups, with the cluster as the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderation.audit.sample import Codes, Flags, Floats

DRAWS = 1999
_CHUNK = 4_000_000  # of permuted labels held at once


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
    mixed = _mixed_rows(rows.codes, rows.cluster)
    drawn = _within(rows, mixed, draws, random) if mixed.any() else _between(rows, draws, random)
    # Ties count as larger; the tolerance keeps sums in another order from breaking them.
    return (1.0 + float((drawn >= observed - 1e-9).sum())) / (draws + 1.0)


def _statistic(events: Floats, items: Floats) -> Floats:
    """The largest standardised difference between two groups; over the last axis, empty groups left out."""
    rate = np.divide(events, items, out=np.full_like(events, np.nan), where=items > 0)
    weight = np.divide(1.0, items, out=np.full_like(items, np.nan), where=items > 0)
    a, b = np.triu_indices(events.shape[-1], 1)
    scaled = np.abs(rate[..., a] - rate[..., b]) / np.sqrt(weight[..., a] + weight[..., b])
    return np.asarray(np.nan_to_num(scaled).max(axis=-1))


def _mixed_rows(codes: Codes, cluster: Codes) -> Flags:
    """The rows of clusters that hold several groups, where most clusters of several items do; else none."""
    _, unit = np.unique(cluster, return_inverse=True)
    size = np.bincount(unit)
    first = np.zeros(len(size), np.int64)
    first[unit[::-1]] = codes[::-1]
    several = np.bincount(unit, codes != first[unit]) > 0
    enough = several.sum() * 2 > (size > 1).sum() and several.any()
    return several[unit] if enough else np.zeros(len(codes), np.bool_)


def _within(rows: _Rows, mixed: Flags, draws: int, random: np.random.Generator) -> Floats:
    fixed = _sums(rows.codes[~mixed], rows.event[~mixed], rows.count)
    order = np.argsort(rows.cluster[mixed], kind="stable")
    labels, event, unit = rows.codes[mixed][order], rows.event[mixed][order], rows.cluster[mixed][order]
    found = []
    for size in _chunks(draws, len(labels)):
        # Clusters are whole numbers and keys lie below 1: no label leaves its own cluster.
        shuffled = labels[np.argsort(unit + random.random((size, len(labels))), axis=1)]
        found.append(fixed + _tally(shuffled, event, rows.count))
    return _statistic(np.concatenate(found), np.broadcast_to(_sizes(rows.codes, rows.count), (draws, rows.count)))


def _between(rows: _Rows, draws: int, random: np.random.Generator) -> Floats:
    _, block = np.unique(rows.cluster * rows.count + rows.codes, return_inverse=True)
    labels = np.zeros(int(block.max()) + 1, np.int64)
    labels[block] = rows.codes
    size, hits = _sizes(block, len(labels)), _sums(block, rows.event, len(labels))
    if (size == 1.0).all():  # then the events are dealt to the groups like cards
        groups = _sizes(labels, rows.count)
        drawn = random.multivariate_hypergeometric(groups.astype(np.int64), int(hits.sum()), draws, method="marginals")
        return _statistic(drawn.astype(np.float64), np.broadcast_to(groups, (draws, rows.count)))
    found = []
    for chunk in _chunks(draws, len(labels)):
        shuffled = random.permuted(np.broadcast_to(labels, (chunk, len(labels))), axis=1)
        found.append(_statistic(_tally(shuffled, hits, rows.count), _tally(shuffled, size, rows.count)))
    return np.concatenate(found)


def _sums(codes: Codes, weight: Floats, count: int) -> Floats:
    return np.bincount(codes, weight, count).astype(np.float64)


def _sizes(codes: Codes, count: int) -> Floats:
    return np.bincount(codes, minlength=count).astype(np.float64)


def _tally(labels: Codes, weight: Floats, count: int) -> Floats:
    """Sums of `weight` [n] by label, for each row of labels [draws, n]."""
    return np.stack([(labels == group) @ weight for group in range(count)], axis=1)


def _chunks(draws: int, width: int) -> list[int]:
    step = max(_CHUNK // max(width, 1), 1)
    return [min(step, draws - start) for start in range(0, draws, step)]

"""Shares of items with exact intervals, which know that items of one cluster are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.audit.cells import LEAST_CLUSTERS
from moderation.compiler.bounds import lower, upper

CONFIDENCE = 0.95  # of the two-sided intervals
SIDED = (1.0 - CONFIDENCE) / 2

_Counts = tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]  # kinds, clusters, how many of both


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `trials`, with the exact two-sided 95 % interval; no trials give the interval from 0 to 1.

    `clusters` counts those of the hits, where it was counted: then the interval is that of as many independent items as the trials are worth.
    """

    hits: int
    trials: int
    low: float
    high: float
    clusters: int | None = None

    @property
    def value(self) -> float | None:
        """The observed share; None where nothing was tried."""
        return self.hits / self.trials if self.trials else None


def share(hits: int, trials: int) -> Share:
    """The share with its exact binomial interval (Clopper and Pearson 1934), every item independent."""
    return Share(hits, trials, *interval(hits, trials))


def interval(hits: float, trials: float, sided: float = SIDED) -> tuple[float, float]:
    """The exact interval, so much error on each side; counts may be fractions (Korn and Graubard 1998). (0, 1) where nothing was tried."""
    return (float(lower(hits, trials, sided)), float(upper(hits, trials, sided))) if trials > 0 else (0.0, 1.0)


class Events:
    """Items counted by kind, and the clusters they are of. It keeps 16 bytes for each kind of each cluster."""

    def __init__(self) -> None:
        self._parts: list[_Counts] = []

    def add(self, kind: NDArray[np.int64], cluster: NDArray[np.uint64]) -> None:
        """Count one event each, of these kinds (from 0) and clusters, [n]."""
        if not len(kind):
            return
        part = _gathered([(kind.astype(np.int32), cluster, np.ones(len(kind), np.int32))])
        while self._parts and len(self._parts[-1][0]) <= 2 * len(part[0]):
            part = _gathered([self._parts.pop(), part])
        self._parts.append(part)

    def joined(self, kinds: int) -> Events:
        """The same events, so many kinds that follow each other taken for one."""
        joined = Events()
        joined._parts = [(kind // kinds, cluster, count) for kind, cluster, count in self._parts]
        return joined

    def sums(self, kinds: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Of each kind, [kinds]: the events, the sum of its clusters' squared numbers of them, and the clusters."""
        if not self._parts:
            return np.zeros(kinds), np.zeros(kinds), np.zeros(kinds, np.int64)
        kind, _, counts = _gathered(self._parts)
        count = counts.astype(np.float64)
        events, squares = (np.bincount(kind, one, kinds).astype(np.float64) for one in (count, count**2))
        return events, squares, np.bincount(kind, minlength=kinds).astype(np.int64)

    def shares(self, trials: NDArray[np.int64], effective: NDArray[np.float64]) -> list[Share]:
        """The share of each kind's events among its `trials`, [kinds], which are worth as many independent items as `effective` says.

        Clusters are taken to come by chance: the variance of a count is the sum of its clusters' squared counts (compound Poisson), and the
        interval is the exact one of as many independent items as have that variance. Where each cluster has one event, of all of them.
        Events of fewer clusters than LEAST_CLUSTERS, or none, show no variance that could be relied on: then no more than `effective`
        items count, as if the items of a cluster were all alike.
        """
        hits, squares, clusters = self.sums(len(trials))
        worth = np.divide(hits, squares, out=np.ones(len(trials)), where=squares > 0)
        most = np.divide(effective, trials, out=np.ones(len(trials)), where=trials > 0)
        worth = np.where(clusters < LEAST_CLUSTERS, np.minimum(worth, most), worth)
        columns = (one.tolist() for one in (hits, trials, worth, clusters))
        return [
            Share(int(hit), tried, *interval(hit * one, tried * one), count)
            for hit, tried, one, count in zip(*columns, strict=True)
        ]


class Tried:
    """Items that something may happen to, counted by kind. It keeps 16 bytes for each kind of each cluster that is named."""

    def __init__(self) -> None:
        self._alone, self._shared = np.zeros(0, np.int64), Events()

    def add(self, kind: NDArray[np.int64], mark: NDArray[np.uint64], cluster: NDArray[np.uint64]) -> None:
        """Count one item each, of these kinds (from 0), with the marks of its id and its cluster, [n]; alike where it is alone."""
        alone = mark == cluster
        counts = np.bincount(kind[alone], minlength=len(self._alone))
        counts[: len(self._alone)] += self._alone
        self._alone = counts
        self._shared.add(kind[~alone], cluster[~alone])

    def result(self, kinds: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """How many items of each kind, and how many independent ones they are worth where a cluster's are all alike: (Σm)²/Σm², by the
        clusters' sizes m (Kish 1965). That is never more than there are clusters.
        """
        count, squares, _ = self._shared.sums(kinds)
        alone = np.zeros(kinds)
        alone[: len(self._alone)] = self._alone
        count, squares = count + alone, squares + alone
        return count.astype(np.int64), np.divide(count**2, squares, out=np.zeros(kinds), where=squares > 0)


def _gathered(parts: Sequence[_Counts]) -> _Counts:
    """One row for each kind and cluster, with the sum of its counts."""
    kinds, clusters, counts = zip(*parts, strict=True)
    kind, cluster, count = np.concatenate(kinds), np.concatenate(clusters), np.concatenate(counts)
    order = np.lexsort((cluster, kind))
    kind, cluster, count = kind[order], cluster[order], count[order]
    starts = np.flatnonzero(np.append(True, (kind[1:] != kind[:-1]) | (cluster[1:] != cluster[:-1])))
    return kind[starts], cluster[starts], np.add.reduceat(count, starts, dtype=np.int32)

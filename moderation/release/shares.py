"""Shares of items with exact intervals, which know that items of one cluster are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.bounds import lower, upper

CONFIDENCE = 0.95  # of the two-sided intervals
SIDED = (1.0 - CONFIDENCE) / 2

_Counts = tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]  # kinds, clusters, how many of both


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `trials`, with the exact two-sided 95 % interval; no trials give the interval from 0 to 1.

    `clusters` counts those of the hits, where it was counted: then the interval is that of as many independent items as they are worth.
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
        if len(kind):
            self._parts.append(_gathered(kind.astype(np.int32), cluster, np.ones(len(kind), np.int32)))

    def joined(self, kinds: int) -> Events:
        """The same events, so many kinds that follow each other taken for one."""
        joined = Events()
        joined._parts = [(kind // kinds, cluster, count) for kind, cluster, count in self._parts]
        return joined

    def shares(self, trials: Sequence[int]) -> list[Share]:
        """The share of each kind's events among its trials; `trials` names them all.

        Clusters are taken to come by chance: the variance of a count is the sum of its clusters' squared counts (compound Poisson), and the
        interval is the exact one of as many independent items as have that variance. Where each cluster has one event, of all of them.
        """
        every = [np.concatenate(column) for column in zip(*self._parts, strict=True)] if self._parts else None
        hits = clusters = squares = np.zeros(len(trials), np.int64)
        if every is not None:
            kind, _, count = _gathered(*every)
            hits, squares = (np.bincount(kind, one, len(trials)) for one in (count, count.astype(np.float64) ** 2))
            clusters = np.bincount(kind, minlength=len(trials))
        found = []
        for number, tried in enumerate(trials):
            worth = float(hits[number] / squares[number]) if squares[number] else 1.0
            found.append(
                Share(int(hits[number]), tried, *interval(hits[number] * worth, tried * worth), int(clusters[number]))
            )
        return found


def _gathered(kind: NDArray[np.int32], cluster: NDArray[np.uint64], count: NDArray[np.int32]) -> _Counts:
    """One row for each kind and cluster, with the sum of its counts."""
    order = np.lexsort((cluster, kind))
    kind, cluster, count = kind[order], cluster[order], count[order]
    starts = np.flatnonzero(np.append(True, (kind[1:] != kind[:-1]) | (cluster[1:] != cluster[:-1])))
    return kind[starts], cluster[starts], np.add.reduceat(count, starts, dtype=np.int32)

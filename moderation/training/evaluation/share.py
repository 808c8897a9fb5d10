"""How often something was right, with an interval that counts independent things: clusters, not pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
CONFIDENCE = 0.95
_DRAWS = 1000
_SEED = 7
_NO_SPREAD = 1e-12  # of draws that differ by how their sums were rounded


@dataclass(frozen=True, slots=True)
class Share:
    """A mean of values in [0, 1] with its two-sided 95 % interval; `count` values in `clusters` independent groups."""

    value: float
    low: float
    high: float
    count: int
    clusters: int


def share(values: Floats, clusters: Sequence[str] | None = None, *, groups: Sequence[str] | None = None) -> Share:
    """Mean of `values` [n] in [0, 1]; with `groups` (classes) the mean of the groups' means, so that each counts alike.

    The interval is Clopper-Pearson's where every value is its own cluster, else a bootstrap over clusters, within groups.
    A bootstrap of clusters that are all alike, or of one, knows no spread: then the exact bounds of so many clusters, their mean over groups.
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("a share of nothing")
    names = np.arange(len(values)).astype(str) if clusters is None else np.asarray(clusters, str)
    number = len(np.unique(names))
    kinds = np.zeros(len(values), np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    parts = [(values[kinds == kind], names[kinds == kind]) for kind in range(kinds.max() + 1)]
    value = float(np.mean([part.mean() for part, _ in parts]))
    alone = number == len(values) and groups is None
    draws = None if alone else np.mean([_draws(part, of, kind) for kind, (part, of) in enumerate(parts)], axis=0)
    if draws is None or np.ptp(draws) < _NO_SPREAD:
        bounds = [_exact(float(part.mean()), len(np.unique(of))) for part, of in parts]
        low, high = (float(bound) for bound in np.mean(bounds, axis=0))
    else:
        low, high = (float(bound) for bound in np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return Share(value, min(low, value), max(high, value), len(values), number)


@dataclass(frozen=True, slots=True)
class Change:
    """Mean difference of two values of the same things, -1 to 1, with its two-sided 95 % interval."""

    value: float
    low: float
    high: float


def change(after: Floats, before: Floats, clusters: Sequence[str]) -> Change:
    """Mean of `after` less `before` [n], thing by thing, which tells more than their two intervals; a bootstrap over clusters.

    One cluster tells nothing of others, and the interval says so: -1 to 1.
    """
    difference = np.asarray(after, np.float64) - before
    if len(set(clusters)) == 1:
        return Change(float(difference.mean()), -1.0, 1.0)
    draws = _draws(difference, np.asarray(clusters, str), 0)
    low, high = (float(bound) for bound in np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]))
    return Change(float(difference.mean()), low, high)


def _exact(value: float, number: int) -> tuple[float, float]:
    from moderation.compiler.bounds import lower, upper

    alpha = (1 - CONFIDENCE) / 2
    return float(lower(value * number, number, alpha)), float(upper(value * number, number, alpha))


def _draws(values: Floats, names: NDArray[np.str_], group: int) -> Floats:
    """Means of `values` with whole clusters drawn anew, float64 [draws]."""
    _, place = np.unique(names, return_inverse=True)
    sums, sizes = np.bincount(place, weights=values), np.bincount(place)
    rng = np.random.default_rng([_SEED, group])
    chosen = (rng.integers(len(sums), size=len(sums)) for _ in range(_DRAWS))
    return np.array([sums[rows].sum() / sizes[rows].sum() for rows in chosen])

"""Where the right answer stands among the candidates, ties counted as a fair draw would deal them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Places:
    """For each query [q]: candidates above its best right one, candidates level with it, and the right ones of those."""

    above: Counts
    level: Counts
    right: Counts


def similarities(queries: Floats, candidates: Floats) -> NDArray[np.float64]:
    """Cosines [q, c] of unit vectors, in float64.

    A float16 is a multiple of 2^-24 and a sum of their products stays below 2, so on float16 vectors every partial sum fits
    float64's 53 bits: the cosines are exact, equal vectors tie, and no order or size of a product changes a figure.
    """
    return np.asarray(queries, np.float64) @ np.asarray(candidates, np.float64).T


def places(cosines: Floats, right: NDArray[np.bool_]) -> Places:
    """Places of the best right candidate of each row; `right` is bool [q, c], with at least one True in a row."""
    best = np.where(right, cosines, -np.inf).max(axis=1, keepdims=True)
    level = cosines == best
    return Places((cosines > best).sum(axis=1), level.sum(axis=1), (level & right).sum(axis=1))


def within(found: Places, k: int) -> Floats:
    """Chance [q] that a right candidate is among the first `k` when those that are level stand in random order.

    1 less the hypergeometric chance of drawing none of `right` in the k - above places left among `level`. An encoder whose
    vectors are all equal gets exactly what guessing gets.
    """
    room = np.clip(k - found.above, 0, found.level)
    missed = np.ones(len(room))
    wrong = found.level - found.right
    for step in range(int(room.max(initial=0))):
        left = np.clip(wrong - step, 0, None) / np.maximum(found.level - step, 1)
        missed *= np.where(step < room, left, 1.0)
    return 1.0 - missed


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices that together cover `count` rows, `size` at a time."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))

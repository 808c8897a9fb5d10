"""The largest difference between groups: its interval, its permutation test, and the verdict against a tolerance.

A verdict answers a question that was fixed before the data was opened: is any two groups' difference larger than tolerated?
*fail* needs two things, a permutation test that finds any difference at all (corrected over the declared family), and a pair
whose lower bound, corrected over pairs and family, lies above the tolerance. *pass* needs the upper bound of every pair below it
(an intersection-union test, which needs no correction). Anything between is *insufficient evidence*: no difference found is not
a difference excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Protocol

import numpy as np

from moderation.audit.cells import DISPLAYED, Cells
from moderation.audit.sample import Floats
from moderation.compiler.intervals import wilson

ALPHA = 0.05

Share = tuple[Floats, Floats, Floats]  # a rate, and the ends of its interval


class Verdict(StrEnum):
    """What an audit says of one harm in one attribute."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INSUFFICIENT = "insufficient evidence"
    NOT_ASSESSED = "not assessed"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two groups, by place, `a` the one with the higher rate. `low` and `high` bound the difference at 95 %, two-sided.

    `lower` is what a failure looks at, corrected over pairs and family; `upper` what a pass looks at, one-sided at 95 %.
    """

    a: int
    b: int
    difference: float
    low: float
    high: float
    lower: float
    upper: float


class Bounded(Protocol):
    """What a verdict looks at in one difference."""

    @property
    def lower(self) -> float: ...
    @property
    def upper(self) -> float: ...


def compare(cells: Cells, *, family: int = 1, alpha: float = ALPHA) -> tuple[Pair, ...]:
    """Every two compared groups, the largest difference first; `family` tests share the error of a failure."""
    places = [int(place) for place in np.nonzero(cells.compared)[0]]
    pairs = list(combinations(places, 2))
    if not pairs:
        return ()
    rate = cells.rate
    ordered = [(a, b) if rate[a] >= rate[b] else (b, a) for a, b in pairs]
    shown = difference_bounds(cells, ordered, DISPLAYED)
    lower = difference_bounds(cells, ordered, 1.0 - 2.0 * alpha / (len(pairs) * family))[0]
    upper = difference_bounds(cells, ordered, 1.0 - 2.0 * alpha)[1]
    made = [
        Pair(a, b, float(rate[a] - rate[b]), *(float(one[row]) for one in (*shown, lower, upper)))
        for row, (a, b) in enumerate(ordered)
    ]
    return tuple(sorted(made, key=lambda pair: -pair.difference))


def difference_bounds(cells: Cells, pairs: Sequence[tuple[int, int]], confidence: float) -> tuple[Floats, Floats]:
    """Bounds of rate a - rate b: Newcombe's (1998, method 10) from Wilson's intervals at the effective numbers.

    For groups without common clusters it is his interval for independent shares (square-and-add).
    """
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    rate = np.nan_to_num(cells.rate)
    low, high = wilson(rate * cells.effective, cells.effective, confidence)
    return square_and_add((rate[a], low[a], high[a]), (rate[b], low[b], high[b]), correlation=cells.correlation[a, b])


def square_and_add(a: Share, b: Share, *, correlation: Floats) -> tuple[Floats, Floats]:
    """The interval of a - b from those of a and b (method of variance estimates recovery; Zou and Donner 2008)."""
    (rate_a, low_a, high_a), (rate_b, low_b, high_b) = a, b

    def reach(one: Floats, other: Floats) -> Floats:
        return np.sqrt(np.maximum(one**2 + other**2 - 2.0 * correlation * one * other, 0.0))

    difference = rate_a - rate_b
    return difference - reach(rate_a - low_a, high_b - rate_b), difference + reach(high_a - rate_a, rate_b - low_b)


def adjust(p: Sequence[float], correction: str) -> list[float]:
    """P values corrected over their family: Holm (1979) or Bonferroni."""
    count = len(p)
    if correction == "bonferroni":
        return [min(one * count, 1.0) for one in p]
    adjusted, reached = [1.0] * count, 0.0
    for rank, place in enumerate(np.argsort(p, kind="stable")):
        reached = max(reached, (count - rank) * p[place])
        adjusted[int(place)] = min(reached, 1.0)
    return adjusted


def decide(pairs: Sequence[Bounded], p: float, tolerance: float, *, complete: bool, alpha: float = ALPHA) -> Verdict:
    """The verdict; `complete` says that every group seen could be compared, without which nothing passes."""
    if not pairs:
        return Verdict.NOT_ASSESSED
    if p <= alpha and any(pair.lower > tolerance for pair in pairs):
        return Verdict.FAIL
    if complete and all(pair.upper < tolerance for pair in pairs):
        return Verdict.PASS
    return Verdict.INSUFFICIENT

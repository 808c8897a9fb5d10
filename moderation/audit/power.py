"""What an audit could have found: the smallest difference it would call a failure, and how many items would settle a pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from moderation.audit.gaps import ALPHA, square_and_add
from moderation.audit.sample import Floats
from moderation.compiler.intervals import wilson

# A difference is called detectable where it would be found with POWER. Clusters of several items differ more when groups do, which no audit
# of equal groups can measure: taken at POWER, gaps were found in 74 to 77 % of 400 made audits, so there it is taken at NOMINAL.
POWER, NOMINAL = 0.8, 0.87
# Of so many times the items that an audit has, nobody plans to collect as many.
OUT_OF_REACH = 50
_HALVINGS = 30


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """k groups, each beside another: `a` and `b` independent items, the common `rate`, the `correlation` of both rates; float64 [k]."""

    a: Floats
    b: Floats
    rate: Floats
    correlation: Floats


def detectable(groups: Beside, *, tolerance: float, tests: int, power: float = POWER, alpha: float = ALPHA) -> Floats:
    """The smallest true differences that would be called failures with this power, float64 [k]; 1 where none would.

    `tests` share the error. By the very bound that a failure
    looks at, taken where the two observed shares fall short of their expectation by as much as they jointly do in 1 - `power` of
    samples (normal approximation; simulations in the suite hold it to the power stated).
    """
    confidence, short = 1.0 - 2.0 * alpha / tests, float(norm.isf(1.0 - power))
    low, high = np.zeros(len(groups.rate)), 1.0 - groups.rate
    reached = _lower(groups, high, short, confidence) > tolerance
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        found = _lower(groups, middle, short, confidence) > tolerance
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return np.where(reached & (np.minimum(groups.a, groups.b) >= 1.0), high, 1.0)


def clusters_needed(rate: float, tolerance: float, *, power: float = 0.9, alpha: float = ALPHA) -> int:
    """About how many independent items each group takes to show equal rates within the tolerance, if they are equal."""
    share = min(max(rate, tolerance / 4.0), 1.0 - tolerance / 4.0)
    quantiles = float(norm.isf(alpha) + norm.isf((1.0 - power) / 2.0))
    return int(np.ceil(2.0 * share * (1.0 - share) * (quantiles / tolerance) ** 2))


def times_needed(reach: Floats, room: Floats, *, tests: int, power: float = POWER, alpha: float = ALPHA) -> Floats:
    """How many times as much evidence brings a difference's bound over a line with this power; above 1 where it is not over it now.

    `reach` is how far the bound lies from the difference, `room` how far the line does: bounds come nearer as the root of the evidence
    grows (normal approximation). `tests` share the error.
    """
    quantile = float(norm.isf(alpha / tests))
    share = (quantile + float(norm.isf(1.0 - power))) / quantile
    times: Floats = (share * reach / np.maximum(room, 1e-12)) ** 2
    return times


def _lower(groups: Beside, difference: Floats, short: float, confidence: float) -> Floats:
    """The lower bound of the difference in a sample that falls `short` standard deviations behind what is expected."""
    a, b, rate = np.maximum(groups.a, 1.0), np.maximum(groups.b, 1.0), groups.rate
    above = np.minimum(rate + difference, 1.0)
    of_a, of_b = above * (1.0 - above) / a, rate * (1.0 - rate) / b
    shared = groups.correlation * np.sqrt(of_a * of_b)
    spread = np.sqrt(np.maximum(of_a + of_b - 2.0 * shared, 1e-12))
    seen_a = np.clip(above - short * (of_a - shared) / spread, 0.0, 1.0)
    seen_b = np.clip(rate + short * (of_b - shared) / spread, 0.0, 1.0)
    (low_a, high_a), (low_b, high_b) = wilson(seen_a * a, a, confidence), wilson(seen_b * b, b, confidence)
    return square_and_add((seen_a, low_a, high_a), (seen_b, low_b, high_b), correlation=groups.correlation)[0]

"""What an audit could have found: the smallest difference it would call a failure, and how many items would settle a pass."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, norm

from moderation.audit.gaps import ALPHA, square_and_add
from moderation.audit.sample import Floats
from moderation.compiler.intervals import wilson

_DRAWS = 4000


def detectable(
    rate: float, n_a: float, n_b: float, *, tolerance: float, tests: int, power: float = 0.8, alpha: float = ALPHA
) -> float:
    """The smallest true difference that would be called a failure with this power, beside a group of this rate; 1 where none would.

    By the very bound that a failure looks at, over simulated groups of these effective numbers; `tests` share the error.
    """
    a, b = round(n_a), round(n_b)
    if min(a, b) < 1:
        return 1.0
    random = np.random.default_rng(7)
    draws, others = random.random((2, _DRAWS))
    beside = np.asarray(binom.ppf(others, b, min(max(rate, 0.0), 1.0)), np.float64)
    confidence = 1.0 - 2.0 * alpha / tests

    def failures(difference: float) -> float:
        # The same draws for every rate, so that a larger one never gives fewer events.
        events = np.asarray(binom.ppf(draws, a, min(rate + difference, 1.0)), np.float64)
        return float((_lower(events, a, beside, b, confidence) > tolerance).mean())

    low, high = 0.0, 1.0 - rate
    if failures(high) < power:
        return 1.0
    for _ in range(20):
        middle = (low + high) / 2.0
        low, high = (low, middle) if failures(middle) >= power else (middle, high)
    return high


def clusters_needed(rate: float, tolerance: float, *, power: float = 0.9, alpha: float = ALPHA) -> int:
    """About how many independent items each group takes to show equal rates within the tolerance, if they are equal."""
    share = min(max(rate, tolerance / 4.0), 1.0 - tolerance / 4.0)
    quantiles = float(norm.isf(alpha) + norm.isf((1.0 - power) / 2.0))
    return int(np.ceil(2.0 * share * (1.0 - share) * (quantiles / tolerance) ** 2))


def _lower(hits_a: Floats, a: int, hits_b: Floats, b: int, confidence: float) -> Floats:
    """The bound that a failure looks at, of two independent groups."""
    (low_a, high_a), (low_b, high_b) = wilson(hits_a, a, confidence), wilson(hits_b, b, confidence)
    independent = np.zeros(len(hits_a))
    return square_and_add((hits_a / a, low_a, high_a), (hits_b / b, low_b, high_b), correlation=independent)[0]

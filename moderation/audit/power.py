"""What an audit could have found: the smallest difference it would call a failure, and how many items would settle a pass."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from moderation.audit.gaps import ALPHA, square_and_add
from moderation.audit.sample import Floats
from moderation.compiler.intervals import wilson

_HALVINGS = 30


def detectable(
    rate: Floats, n_a: Floats, n_b: Floats, *, tolerance: float, tests: int, power: float = 0.8, alpha: float = ALPHA
) -> Floats:
    """The smallest true differences that would be called failures with this power, float64 [k]; 1 where none would.

    Each of `n_a` independent items beside a group of `n_b` with this rate; `tests` share the error. By the very bound that a failure
    looks at, taken where the two observed shares fall short of their expectation by as much as they jointly do in 1 - `power` of
    samples (normal approximation; simulations in the suite hold it to the power stated).
    """
    confidence, short = 1.0 - 2.0 * alpha / tests, float(norm.isf(1.0 - power))
    low, high = np.zeros(len(rate)), 1.0 - rate
    reached = _lower(rate, high, n_a, n_b, short, confidence) > tolerance
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        found = _lower(rate, middle, n_a, n_b, short, confidence) > tolerance
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return np.where(reached & (np.minimum(n_a, n_b) >= 1.0), high, 1.0)


def clusters_needed(rate: float, tolerance: float, *, power: float = 0.9, alpha: float = ALPHA) -> int:
    """About how many independent items each group takes to show equal rates within the tolerance, if they are equal."""
    share = min(max(rate, tolerance / 4.0), 1.0 - tolerance / 4.0)
    quantiles = float(norm.isf(alpha) + norm.isf((1.0 - power) / 2.0))
    return int(np.ceil(2.0 * share * (1.0 - share) * (quantiles / tolerance) ** 2))


def _lower(rate: Floats, difference: Floats, n_a: Floats, n_b: Floats, short: float, confidence: float) -> Floats:  # noqa: PLR0917
    """The lower bound of the difference in a sample that falls `short` standard deviations behind what is expected."""
    a, b = np.maximum(n_a, 1.0), np.maximum(n_b, 1.0)
    above = np.minimum(rate + difference, 1.0)
    spread_a, spread_b = above * (1.0 - above) / a, rate * (1.0 - rate) / b
    spread = np.sqrt(np.maximum(spread_a + spread_b, 1e-12))
    seen_a = np.clip(above - short * spread_a / spread, 0.0, 1.0)
    seen_b = np.clip(rate + short * spread_b / spread, 0.0, 1.0)
    (low_a, high_a), (low_b, high_b) = wilson(seen_a * a, a, confidence), wilson(seen_b * b, b, confidence)
    return square_and_add((seen_a, low_a, high_a), (seen_b, low_b, high_b), correlation=np.zeros(len(rate)))[0]

"""Intervals to show beside a rate, never to promise with: Wilson's for one share, Newcombe's for the difference of two."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from moderation.compiler.bounds import Floats


def wilson(hits: ArrayLike, trials: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927), two-sided, clipped to [0, 1]; (0, 1) where nothing was tried. Counts may be fractions."""
    k, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(trials, np.float64))
    some = np.where(n > 0, n, 1.0)
    z = float(ndtri(0.5 + confidence / 2.0))
    share = k / some
    middle = (share + z * z / (2.0 * some)) / (1.0 + z * z / some)
    reach = z * np.sqrt(share * (1.0 - share) / some + z * z / (4.0 * some * some)) / (1.0 + z * z / some)
    low, high = np.clip(middle - reach, 0.0, share), np.clip(middle + reach, share, 1.0)
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)


def newcombe(
    hits_a: ArrayLike, trials_a: ArrayLike, hits_b: ArrayLike, trials_b: ArrayLike, confidence: float
) -> tuple[Floats, Floats]:
    """Newcombe's interval (1998, method 10) of the difference of two independent shares, a less b; (-1, 1) where nothing was tried."""
    (ka, na), (kb, nb) = (
        (np.asarray(one, np.float64) for one in (hits_a, trials_a)),
        (np.asarray(one, np.float64) for one in (hits_b, trials_b)),
    )
    low_a, high_a = wilson(ka, na, confidence)
    low_b, high_b = wilson(kb, nb, confidence)
    a, b = ka / np.where(na > 0, na, 1.0), kb / np.where(nb > 0, nb, 1.0)
    tried = (na > 0) & (nb > 0)
    below = a - b - np.sqrt((a - low_a) ** 2 + (high_b - b) ** 2)
    above = a - b + np.sqrt((high_a - a) ** 2 + (b - low_b) ** 2)
    return np.where(tried, below, -1.0), np.where(tried, above, 1.0)

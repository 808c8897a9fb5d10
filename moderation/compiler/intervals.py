"""The interval to show beside a rate, never to promise with: Wilson's."""

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

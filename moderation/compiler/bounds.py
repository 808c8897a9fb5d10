"""Exact binomial (Clopper-Pearson) bounds on a share, and what they bound: precision at a stated prevalence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

Floats = NDArray[np.float64]

# Of a precision guarantee's error, this part pays for the bound on the true positive rate and the rest for the false
# positive rate: few benign targets are ever flagged, so theirs is the looser bound. Fixed in advance.
TPR_PART = 0.25


def lower(hits: ArrayLike, trials: ArrayLike, alpha: float) -> Floats:
    """The share that is exceeded with confidence 1 - alpha; 0 where nothing hit or nothing was tried."""
    k, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(trials, np.float64))
    some = k > 0
    return np.where(some, betaincinv(np.where(some, k, 1.0), np.where(some, n - k + 1.0, 1.0), alpha), 0.0)


def upper(hits: ArrayLike, trials: ArrayLike, alpha: float) -> Floats:
    """The share that is not reached with confidence 1 - alpha; 1 where everything hit or nothing was tried."""
    k, n = np.broadcast_arrays(np.asarray(hits, np.float64), np.asarray(trials, np.float64))
    some = k < n
    return np.where(some, betaincinv(np.where(some, k + 1.0, 1.0), np.where(some, n - k, 1.0), 1.0 - alpha), 1.0)


def precision(tpr: ArrayLike, fpr: ArrayLike, prevalence: float) -> Floats:
    """Precision of a cut with these rates where this share of items violates; 0 where nothing is flagged.

    It rises with the prevalence, so a bound at the low end of an interval holds in all of it.
    """
    true = prevalence * np.asarray(tpr, np.float64)
    flagged = true + (1.0 - prevalence) * np.asarray(fpr, np.float64)
    return np.divide(true, flagged, out=np.zeros_like(flagged), where=flagged > 0)


def share(tpr: ArrayLike, fpr: ArrayLike, prevalence: float) -> Floats:
    """Share of all items that a cut with these rates flags."""
    return prevalence * np.asarray(tpr, np.float64) + (1.0 - prevalence) * np.asarray(fpr, np.float64)

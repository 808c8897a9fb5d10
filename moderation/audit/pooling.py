"""Intersections: small cells drawn towards the whole, beside the raw rates, and which of them stand out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import false_discovery_control, norm

from moderation.audit.cells import Cells
from moderation.audit.sample import Floats


def pool(cells: Cells) -> Floats:
    """Each cell's rate under a beta prior that the cells themselves give (empirical Bayes, method of moments), float64 [k].

    Where cells differ no more than chance explains, all become the common rate; a cell without items has that too. NaN where no
    cell has any.
    """
    n, rate = cells.effective, np.nan_to_num(cells.rate)
    seen = cells.items > 0
    if not seen.any():
        return np.full(len(n), np.nan)
    mean = float((n * rate)[seen].sum() / n[seen].sum())
    binomial = mean * (1.0 - mean)
    if binomial == 0.0 or seen.sum() < 2:
        return np.where(seen, rate, mean) if seen.sum() < 2 else np.full(len(n), mean)
    total, weights = n[seen].sum(), n[seen]
    # Of the weighted squares around the mean, (cells - 1) binomial variances are chance (Kleinman 1973).
    squares = float((weights * (rate[seen] - mean) ** 2).sum())
    between = (squares - (seen.sum() - 1) * binomial) / (total - (weights**2).sum() / total)
    prior = binomial / between - 1.0 if between > 0.0 else np.inf
    if prior <= 0.0:
        return np.where(seen, rate, mean)
    share = 1.0 if np.isinf(prior) else prior / (prior + n)
    pooled: Floats = np.where(seen, share * mean + (1.0 - share) * rate, mean)
    return pooled


def chances(cells: Cells) -> Floats:
    """Of each compared cell, how likely a rate so unlike all others' together is by chance, float64 [k]; NaN for the others.

    A two-sided score test at the effective numbers, not corrected for how many cells were looked at.
    """
    n, hits = cells.effective, np.nan_to_num(cells.rate) * cells.effective
    others, rest = n.sum() - n, hits.sum() - hits
    usable = cells.compared & (others > 0)
    result = np.full(len(n), np.nan)
    if not usable.any():
        return result
    common = hits.sum() / n.sum()
    spread = np.sqrt(common * (1.0 - common) * (1.0 / n[usable] + 1.0 / others[usable]))
    difference = np.abs(hits[usable] / n[usable] - rest[usable] / others[usable])
    z = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
    result[usable] = 2.0 * norm.sf(z)
    return result


def discovered(found: Sequence[Floats]) -> tuple[list[Floats], int]:
    """These p values corrected over all of them together (Benjamini and Hochberg 1995: exploratory), and over how many; NaN stays."""
    every = np.concatenate([np.zeros(0), *found])
    tested = ~np.isnan(every)
    corrected = every.copy()
    corrected[tested] = false_discovery_control(every[tested]) if tested.any() else []
    return np.split(corrected, np.cumsum([len(one) for one in found])[:-1]) if found else [], int(tested.sum())

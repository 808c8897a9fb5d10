"""Zero-shot measures of an encoder: policy scores from phrases, area under the curve with its interval, retrieval by name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
# Between the mean and the maximum of the contrast phrases. Chosen on text alone: object names put in the place of pictures.
CONTRAST_TEMPERATURE = 0.2


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve with its 95 % interval; the counts are of objects, of which an object's pictures are one."""

    value: float
    low: float
    high: float
    positives: int
    negatives: int


def policy_scores(images: Floats, violating: Floats, contrast: Floats) -> Floats:
    """Score float64 [n] of unit vectors `images` [n, d]: best cosine to a violating phrase less a soft maximum over contrast phrases."""
    best = (images @ violating.T).max(axis=1).astype(np.float64)
    against = (images @ contrast.T).astype(np.float64) / CONTRAST_TEMPERATURE
    top = against.max(axis=1, keepdims=True)
    pooled = top[:, 0] + np.log(np.exp(against - top).mean(axis=1))
    return np.asarray(best - CONTRAST_TEMPERATURE * pooled)


def auc(scores: Floats, positive: NDArray[np.bool_], objects: Sequence[str]) -> Auc:
    """Area over all pictures; the interval counts objects (Obuchowski's clustered form of DeLong's variance, on the logit).

    With one positive object nothing is known of others, and the interval says so: 0 to 1. Where no object of either side stands out
    of line there is no variance to go by: then the exact bound of so many objects without a miss. NaN where a side is empty.
    """
    names = np.array(objects)
    counts = len(set(names[positive])), len(set(names[~positive]))
    if 0 in counts:
        return Auc(float("nan"), float("nan"), float("nan"), *counts)
    above = _placements(scores[positive], scores[~positive])
    below = 1.0 - _placements(scores[~positive], scores[positive])
    value = float(above.mean())
    if min(counts) == 1:
        return Auc(value, 0.0, 1.0, *counts)
    variance = _clustered(above - value, names[positive]) + _clustered(below - value, names[~positive])
    if variance == 0.0:
        room = 1.0 - 0.025 ** (1.0 / min(counts))
        return Auc(value, max(0.0, value - room), min(1.0, value + room), *counts)
    inside = min(max(value, 1e-4), 1 - 1e-4)
    logit, width = np.log(inside / (1 - inside)), 1.96 * variance**0.5 / (inside * (1 - inside))
    low, high = (float(1 / (1 + np.exp(-(logit + sign * width)))) for sign in (-1, 1))
    return Auc(value, min(low, value), max(high, value), *counts)


def recall_at(k: int, queries: Floats, candidates: Floats, wanted: Sequence[str], names: Sequence[str]) -> float:
    """Share of text queries [q, d] whose wanted name is among the `k` nearest of the pictures [n, d] with those names."""
    order = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, :k]
    return float(np.mean([any(names[j] == name for j in row) for row, name in zip(order, wanted, strict=True)]))


def _placements(scores: Floats, others: Floats) -> Floats:
    """For each score, the share of `others` below it, ties counting half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return np.asarray(below / (2 * len(ordered)))


def _clustered(deviations: Floats, names: NDArray[np.str_]) -> float:
    """Variance of the mean of deviations that come in clusters."""
    _, place = np.unique(names, return_inverse=True)
    sums = np.bincount(place, weights=deviations)
    clusters = len(sums)
    return float(clusters / (clusters - 1) * (sums**2).sum() / len(deviations) ** 2)

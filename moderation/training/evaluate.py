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


def auc(
    scores: Floats, positive: NDArray[np.bool_], objects: Sequence[str], *, seed: int = 0, repeats: int = 400
) -> Auc:
    """Area over all pictures, its interval by resampling objects (positive and negative apart), NaN where a side is empty."""
    positive_groups = _groups(scores[positive], [o for o, p in zip(objects, positive, strict=True) if p])
    negative_groups = _groups(scores[~positive], [o for o, p in zip(objects, positive, strict=True) if not p])
    counts = len(positive_groups), len(negative_groups)
    if 0 in counts:
        return Auc(float("nan"), float("nan"), float("nan"), *counts)
    rng = np.random.default_rng(seed)
    draws = np.empty(repeats)
    for i in range(repeats):
        chosen = (
            groups[j]
            for groups in (positive_groups, negative_groups)
            for j in rng.integers(len(groups), size=len(groups))
        )
        resampled = list(chosen)
        draws[i] = _area(np.concatenate(resampled[: counts[0]]), np.concatenate(resampled[counts[0] :]))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Auc(_area(scores[positive], scores[~positive]), float(low), float(high), *counts)


def recall_at(k: int, queries: Floats, candidates: Floats, wanted: Sequence[str], names: Sequence[str]) -> float:
    """Share of text queries [q, d] whose wanted name is among the `k` nearest of the pictures [n, d] with those names."""
    order = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, :k]
    return float(np.mean([any(names[j] == name for j in row) for row, name in zip(order, wanted, strict=True)]))


def _groups(scores: Floats, objects: Sequence[str]) -> list[Floats]:
    found: dict[str, list[float]] = {}
    for score, name in zip(scores, objects, strict=True):
        found.setdefault(name, []).append(float(score))
    return [np.array(values) for values in found.values()]


def _area(positive: Floats, negative: Floats) -> float:
    """Chance that a positive outscores a negative, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / 2 / len(ordered))

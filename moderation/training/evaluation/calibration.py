"""Whether the zero-shot probabilities mean what they say: expected calibration error over bins of equal mass.

Bins hold equally many pictures: an encoder's confidences crowd together, so that of bins of equal width most stay empty and the
figure hangs on a few; 15 is the usual number (Guo et al. 2017, "On Calibration of Modern Neural Networks").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.training.evaluation.ranking import Floats
from moderation.training.evaluation.zero_shot import hits

BINS = 15
_DRAWS = 200
_SEED = 7


@dataclass(frozen=True, slots=True)
class Bin:
    """Pictures of like confidence: their number, mean confidence, and how often they were right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error with its 95 % bootstrap interval over pictures; `confidence` and `accuracy` are means.

    `floor` is what a perfectly calibrated model with these confidences shows by luck.
    """

    error: float
    low: float
    high: float
    floor: float
    confidence: float
    accuracy: float
    scale: float
    bins: Sequence[Bin]


def calibration(cosines: Floats, labels: NDArray[np.int64], scale: float, *, bins: int = BINS) -> Calibration:
    """Calibration of the softmax over `cosines` [n, c] times `scale`; `labels` [n] are columns."""
    confidence = softmax(cosines * scale).max(axis=1)
    right = hits(cosines, labels, 1)
    found = binned(confidence, right, bins=bins)
    error, rng = expected_error(found), np.random.default_rng(_SEED)
    drawn, lucky = [], []
    for _ in range(_DRAWS):
        rows = rng.integers(len(right), size=len(right))
        drawn.append(expected_error(binned(confidence[rows], right[rows], bins=bins)))
        lucky.append(expected_error(binned(confidence, rng.random(len(right)) < confidence, bins=bins)))
    # The error of a sample drawn anew is larger than the sample's own, by about as much as that is larger than the truth.
    low, high = (max(0.0, 2 * error - float(bound)) for bound in np.quantile(drawn, [0.975, 0.025]))
    means = float(confidence.mean()), float(right.mean())
    return Calibration(error, min(low, error), max(high, error), float(np.mean(lucky)), *means, scale, found)


def binned(confidence: Floats, right: Floats, *, bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal mass, least confident first; equal confidences share a bin, so that no order of rows changes a figure."""
    ordered = np.sort(confidence)
    edges = ordered[[len(ordered) * edge // bins for edge in range(1, bins)]]
    place = np.searchsorted(edges, confidence, side="right")
    mine = [place == number for number in range(bins)]
    return tuple(
        Bin(int(rows.sum()), float(confidence[rows].mean()), float(right[rows].mean())) for rows in mine if rows.any()
    )


def expected_error(bins: Sequence[Bin]) -> float:
    """Mean distance between confidence and accuracy, each bin by its share of the pictures."""
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / sum(one.count for one in bins)


def softmax(logits: Floats) -> Floats:
    """Rows of [n, c] as probabilities."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))

"""How far a score can move at most when its vector does: a head's Lipschitz constant, a bound that holds anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moderation.detector.linear import ImportedDetector, LinearHead, PromptHead

if TYPE_CHECKING:
    from moderation.detector.base import Detector
    from moderation.detector.head import Head

STEEPEST = 0.25  # of the sigmoid, and of a share of a softmax, by its logit


def stated_steepness(detector: Detector) -> float | None:
    """How far a detector's scores move at most, for a vector that moves by 1: of a third party's head, derived; of others, what they state."""
    if isinstance(detector, ImportedDetector):
        return _linear(detector.head) if isinstance(detector.head, LinearHead) else _prompts(detector.head)
    stated: float | None = getattr(detector, "steepness", None)
    return stated


def steepness(head: Head) -> float:
    """The largest length of the raw margin's gradient: |raw(x) - raw(y)| <= steepness · |x - y| for vectors no longer than 1.

    A soft maximum's gradient is a mean of its phrases', so the longest difference of a violating and a contrast phrase bounds
    theirs. Exemplars (L2) and phrases that add up (L5) each pull by a share between 0 and 1 of their own.
    """
    columns = np.concatenate([head.violating, head.contrast]) * head.gain[:, None]
    split = len(head.violating)
    if head.weights is not None:
        signed = head.weights * np.where(np.arange(len(columns)) < split, 1.0, -1.0)
        return _longest_sum(columns * signed[:, None])
    violating, contrast = columns[:split], columns[split:]
    if head.floor:  # it takes its share of the contrast's mean, and has no gradient
        contrast = np.concatenate([contrast, np.zeros((1, head.width))])
    if head.probe is not None and head.anchor is not None:
        violating, contrast = head.anchor[0] * violating + head.probe, head.anchor[0] * contrast
    longest = max(float(np.linalg.norm(violating - one, axis=1).max()) for one in contrast)
    if head.remembered is None:
        return longest
    pulls = head.remembered.vectors * (head.remembered.votes * head.remembered.sharpness[0])[:, None]
    return longest + _longest_sum(pulls)


def _linear(head: LinearHead) -> float:
    slope = STEEPEST if head.span is None else 1.0 / abs(head.span[1] - head.span[0])
    return slope * float(np.linalg.norm(head.weight))


def _prompts(head: PromptHead) -> float:
    """The gradient of a share is share · (1 - share) · scale times what parts the risky prompt from a mean of the others."""
    unit = head.prompts / np.linalg.norm(head.prompts, axis=1, keepdims=True)
    return STEEPEST * head.scale * float(np.linalg.norm(unit - unit[head.risky], axis=1).max())


def _longest_sum(rows: NDArray[np.float64]) -> float:
    """No sum of shares, between 0 and 1, of these rows is longer: products below 0 only shorten it."""
    return float(np.sqrt(np.maximum(rows @ rows.T, 0.0).sum()))

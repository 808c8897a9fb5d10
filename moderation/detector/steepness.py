"""How far a head's margin can move at most when its vector does: its Lipschitz constant, a bound that holds anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from moderation.detector.head import Head


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


def _longest_sum(rows: NDArray[np.float64]) -> float:
    """No sum of shares, between 0 and 1, of these rows is longer: products below 0 only shorten it."""
    return float(np.sqrt(np.maximum(rows @ rows.T, 0.0).sum()))

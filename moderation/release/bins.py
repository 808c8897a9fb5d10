"""Scores counted in equal parts of [0, 1]: what a lock keeps of them, and what plots are drawn from."""

from __future__ import annotations

from collections.abc import Iterable

BINS = 40


def bin_of(score: float) -> int:
    """Which of BINS equal parts a score lies in, from 0; 1 counts to the last."""
    return min(int(score * BINS), BINS - 1)


def histogram(scores: Iterable[float]) -> list[int]:
    """How many scores lie in each part."""
    counts = [0] * BINS
    for score in scores:
        counts[bin_of(score)] += 1
    return counts

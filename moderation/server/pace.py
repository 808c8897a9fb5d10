"""How long steps take of late, learnt from what they took: of one kind of thing, or of parts of several modalities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from moderation.item import Modality

_WEIGHT = 0.2  # of the newest


class Pace:
    """How long one of a step takes on the mean, newer ones counting more, where so many threads do it."""

    def __init__(self, threads: int) -> None:
        self._threads, self._mean = threads, 0.0

    def took(self, ones: int, seconds: float) -> None:
        """So many took so long together."""
        self._mean += _WEIGHT * (seconds / ones - self._mean)

    def seconds(self, ones: float) -> float:
        """Until so many are done."""
        return ones * self._mean / self._threads


class PartsPace:
    """How long a part of each modality takes one thread, newer ones counting more.

    What several modalities took together moves each by its number: normalised least mean squares, which for one modality is `Pace`.
    """

    def __init__(self) -> None:
        self._means: defaultdict[Modality, float] = defaultdict(float)

    def took(self, parts: Mapping[Modality, int], seconds: float) -> None:
        """These took so long together."""
        error = (seconds - self.seconds(parts)) / sum(ones**2 for ones in parts.values())
        for modality, ones in parts.items():
            self._means[modality] = max(0.0, self._means[modality] + _WEIGHT * error * ones)

    def seconds(self, parts: Mapping[Modality, int]) -> float:
        """Until these are done."""
        return sum(ones * self._means[modality] for modality, ones in parts.items())

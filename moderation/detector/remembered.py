"""The exemplars that an L2 head remembers, and their names in a lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"exemplars": "vectors", "votes": "votes", "affinity": "sharpness"}


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """Unit `vectors` float32 [e, d], and float64 `votes` [e] and `sharpness` [1].

    They add the sum of votes · exp(sharpness · (cosine - 1)) to the margin; a violating exemplar's vote is above 0.
    """

    vectors: NDArray[np.float32]
    votes: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """As a lock holds them."""
        return {name: getattr(self, one) for name, one in NAMES.items()}

    @classmethod
    def take_from(cls, arrays: dict[str, NDArray[Any]]) -> Remembered:
        """What `to_arrays` gave, taken out of `arrays`."""
        return cls(**{one: arrays.pop(name) for name, one in NAMES.items()})

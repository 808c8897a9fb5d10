"""What a detector is: a batch of parts in, one answer for each part out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Abstention, Score
from moderation.item import Modality, Part

Detection = tuple[Score, ...] | Abstention


@dataclass(frozen=True, slots=True)
class DetectionBatch:
    """Parts to judge, with their vectors (float16 [n, d]) where the detector asked for them, else None."""

    parts: tuple[Part, ...]
    embeddings: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.parts)


class Detector(Protocol):
    """A plugin unit. `id` is unique; `labels` are the names it scores; it sees only parts of its `modalities`."""

    @property
    def id(self) -> str:
        """A short name, unique among all detectors."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that its scores may carry."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """The modalities it judges."""
        ...

    @property
    def needs_embeddings(self) -> bool:
        """Whether the batch must carry vectors."""
        ...

    def detect(self, batch: DetectionBatch) -> Sequence[Detection]:
        """One answer for each part, in order: scores, or an abstention with its reason."""
        ...

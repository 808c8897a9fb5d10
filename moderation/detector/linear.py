"""Heads that others trained on an encoder's vectors, as detectors: a linear one, and prompts against each other.

A row's products are summed by themselves, in float64, so that its score is the same whatever stands beside it in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.sound import sound_vectors
from moderation.item import Modality

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """weight [d] · x + bias, squashed by the sigmoid; or, with `span` (low, high), by where it lies between the two, cut at both.

    A head whose high values are harmless has the larger number first.
    """

    weight: Floats
    bias: float
    span: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """The width d of the vectors it scores."""
        return len(self.weight)

    def raw(self, vectors: NDArray[np.float16]) -> Floats:
        """What the head says of float16 [n, d], float64 [n], in its own units."""
        return _dot(vectors, self.weight) + self.bias

    def score(self, vectors: NDArray[np.float16]) -> Floats:
        """The same in [0, 1]."""
        raw = self.raw(vectors)
        if self.span is None:
            return np.asarray(1.0 / (1.0 + np.exp(-np.clip(raw, -40.0, 40.0))))
        low, high = self.span
        return np.asarray(np.clip((raw - low) / (high - low), 0.0, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class PromptHead:
    """The share of one prompt in the softmax of scale · cosine over all; `prompts` [k, d] of any length, `risky` is the row."""

    prompts: Floats
    risky: int = 1
    scale: float = 100.0

    @property
    def width(self) -> int:
        """The width d of the vectors it scores."""
        return int(self.prompts.shape[1])

    def raw(self, vectors: NDArray[np.float16]) -> Floats:
        """The cosine to the risky prompt less the largest to another, float64 [n]."""
        cosines = self._cosines(vectors)
        return np.asarray(cosines[:, self.risky] - np.delete(cosines, self.risky, axis=1).max(axis=1))

    def score(self, vectors: NDArray[np.float16]) -> Floats:
        """The share, in [0, 1]."""
        cosines = self._cosines(vectors)
        powers = np.exp(self.scale * (cosines - cosines.max(axis=1, keepdims=True)))
        return np.asarray(powers[:, self.risky] / powers.sum(axis=1))

    def _cosines(self, vectors: NDArray[np.float16]) -> Floats:
        unit = self.prompts / np.linalg.norm(self.prompts, axis=1, keepdims=True)
        return np.stack([_dot(vectors, one) for one in unit], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class ImportedDetector:
    """A third party's head under an id; `encoder` is the card's name or the identity of the one encoder that it fits."""

    id: str
    labels: tuple[str, ...]
    modalities: frozenset[Modality]
    head: LinearHead | PromptHead
    encoder: str
    needs_embeddings: bool = True

    def detect(self, batch: DetectionBatch) -> tuple[Detection, ...]:
        """One score or abstention per part. Raises DetectorError when the batch carries no vectors that fit."""
        found = sound_vectors(batch, detector=self.id, width=self.head.width)
        values = np.round(self.head.score(found.vectors), 6)
        (label,) = self.labels
        return tuple(wrong or (Score(label, float(value)),) for wrong, value in zip(found.unsound, values, strict=True))


def _dot(vectors: NDArray[np.float16], weight: Floats) -> Floats:
    return np.asarray((vectors.astype(np.float64) * weight).sum(axis=1))

"""Zero-shot: how near pictures are to texts, and the softmax of it. No policy is asked, and nothing is certified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moderation.encoder.base import Vectors

SCALE = 100.0  # at which CLIP's similarities are made probabilities
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near a picture is to a text: the cosine, and the text's share among all that were asked about."""

    text: str
    similarity: float
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {"text": self.text, "similarity": self.similarity, "probability": self.probability}


def zero_shot(texts: Sequence[str], *, words: Vectors, pictures: Vectors) -> list[tuple[Likeness, ...]]:
    """For each picture, float16 [n, d], its likeness to each text, in order, whose vectors are `words`, float16 [len(texts), d]."""
    similar = pictures.astype(np.float64) @ words.astype(np.float64).T
    shares = np.exp(SCALE * (similar - similar.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    rows = zip(similar.round(DECIMALS).tolist(), shares.round(DECIMALS).tolist(), strict=True)
    return [tuple(map(Likeness, texts, *row)) for row in rows]

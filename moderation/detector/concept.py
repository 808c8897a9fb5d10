"""The built-in detector: one policy's head over the shared encoder's vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.head import DECIMALS, Head
from moderation.detector.sound import sound_vectors
from moderation.detector.tiles import Vectors
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.lock import Lock


class ConceptDetector:
    """Scores parts under one lock; its id and its only label are the policy's id.

    A vector that is not finite or not of unit length is an abstention, never a score. Raises LockError when the lock's
    arrays make no head or do not fit its width, phrases and concepts.
    """

    needs_embeddings = True

    def __init__(self, lock: Lock) -> None:
        self.id = lock.policy
        self.labels = (lock.policy,)
        self.modalities: frozenset[Modality] = frozenset(lock.modalities)
        self.phrases = lock.phrases
        self.head = Head.from_arrays(lock.level, lock.arrays)
        if self.head.width != lock.width or len(self.head.violating) != len(lock.phrases):
            raise LockError(
                f"lock of policy {lock.policy!r}: the head is {self.head.width} wide with {len(self.head.violating)} "
                f"violating phrases, but the lock says {lock.width} and {len(lock.phrases)}"
            )
        self._owned = None if self.head.weights is None else _owned(lock, self.head.weights)

    def detect(self, batch: DetectionBatch) -> tuple[Detection, ...]:
        """One score or abstention per part. Raises DetectorError when the batch carries no vectors that fit."""
        found = sound_vectors(batch, detector=self.id, width=self.head.width)
        scored = self.head.score(found.vectors)
        evidence = self._evidence(found.vectors)
        return tuple(
            wrong or (Score(self.id, float(value), concept=self.phrases[nearest], evidence=told),)
            for wrong, value, nearest, told in zip(found.unsound, scored.values, scored.nearest, evidence, strict=True)
        )

    def _evidence(self, vectors: Vectors) -> Sequence[Mapping[str, float] | None]:
        """What each concept adds to each vector's log odds, at L5; summed row by row, so that it hangs on no other row."""
        if self._owned is None:
            return [None] * len(vectors)
        shown = self.head.contributions(vectors) / self.head.scale
        added = np.stack([shown[:, rows].sum(axis=1) for rows in self._owned.values()], axis=1)
        return [dict(zip(self._owned, row, strict=True)) for row in np.round(added, DECIMALS).tolist()]


def _owned(lock: Lock, weights: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
    """Which phrases with a weight are whose, by concept."""
    if len(lock.concepts) != len(weights):
        raise LockError(
            f"lock of policy {lock.policy!r}: it names concepts of {len(lock.concepts)} phrases, but its head has {len(weights)}"
        )
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(weights).tolist():
        rows.setdefault(lock.concepts[row], []).append(row)
    return {concept: np.array(places) for concept, places in rows.items()}

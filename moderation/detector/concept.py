"""The built-in detector: one policy's head over the shared encoder's vectors."""

from __future__ import annotations

from moderation.decision import Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.head import Head
from moderation.detector.sound import sound_vectors
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.lock import Lock


class ConceptDetector:
    """Scores parts under one lock; its id and its only label are the policy's id.

    A vector that is not finite or not of unit length is an abstention, never a score. Raises LockError when the lock's
    arrays make no head or do not fit its width and phrases.
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

    def detect(self, batch: DetectionBatch) -> tuple[Detection, ...]:
        """One score or abstention per part. Raises DetectorError when the batch carries no vectors that fit."""
        found = sound_vectors(batch, detector=self.id, width=self.head.width)
        scored = self.head.score(found.vectors)
        return tuple(
            wrong or (Score(self.id, float(value), concept=self.phrases[nearest]),)
            for wrong, value, nearest in zip(found.unsound, scored.values, scored.nearest, strict=True)
        )

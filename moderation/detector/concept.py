"""The built-in detector: one policy's head over the shared encoder's vectors."""

from __future__ import annotations

import numpy as np

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.head import Head
from moderation.errors import DetectorError, LockError
from moderation.item import Modality
from moderation.policy.lock import Lock

# float16 rounds a unit vector's length by less than this; a vector outside was not made by an encoder.
_NORM_TOLERANCE = 0.02


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
        vectors = batch.embeddings
        if vectors is None or len(vectors) != len(batch) or vectors.shape[1:] != (self.head.width,):
            found = "none" if vectors is None else f"{vectors.dtype} {vectors.shape}"
            raise DetectorError(
                self.id, f"found embeddings {found}, expected float16 ({len(batch)}, {self.head.width})"
            )
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        sound = np.abs(norms - 1.0) < _NORM_TOLERANCE
        scored = self.head.score(np.where(sound[:, None], vectors, np.float16(0.0)))
        return tuple(
            (Score(self.id, float(value), concept=self.phrases[nearest]),)
            if fine
            else Abstention("unsound_embedding", f"its length is {norm:.3g}, expected 1")
            for value, nearest, norm, fine in zip(scored.values, scored.nearest, norms, sound, strict=True)
        )

"""How far this machine's scores may lie from those a lock was certified on: ε, measured on the lock's golden inputs."""

from __future__ import annotations

import math

import numpy as np

from moderation.detector.head import Head
from moderation.encoder.base import Encoder
from moderation.errors import LockError
from moderation.policy.decide import DIGITS
from moderation.policy.lock import Lock

# Some phrases stand for all content, so the largest difference seen among them is taken this many times.
SAFETY = 4.0
# Below this cosine, a phrase encoded here is not the phrase in the lock: then numbers are not what differs.
SAME = 0.999


def measure_epsilon(lock: Lock, encoder: Encoder) -> float:
    """ε in units of score: SAFETY times the largest difference that this numeric class makes to a phrase of the lock.

    Differences are taken on the raw margin, whose slope into a score is largest at the middle, so that a score near 0
    or 1 hides nothing. Raises LockError when the golden inputs are missing or do not come out as in the lock.
    """
    here = encoder.fingerprint.numeric
    refused = f"policy {lock.policy!r}: certified on {lock.encoder_numeric}, the encoder runs as {here}, and "
    if "text" not in encoder.card.modalities:
        raise LockError(f"{refused}it reads no text, so the lock's phrases cannot be its self-test")
    encoded = encoder.encode_text(lock.phrases)
    if encoded.errors:
        raise LockError(
            f"{refused}{len(encoded.errors)} of the lock's {len(lock.phrases)} phrases cannot be encoded here"
        )
    stored = lock.arrays["violating"].astype(np.float16)
    cosines = np.sum(stored.astype(np.float64) * encoded.vectors.astype(np.float64), axis=1)
    if not np.all(cosines > SAME):
        raise LockError(
            f"{refused}a phrase has cosine {np.min(cosines):.6f} with itself in the lock; expected > {SAME}"
        )
    head = Head.from_arrays(lock.level, lock.arrays)
    difference = float(np.max(np.abs(head.raw(stored) - head.raw(encoded.vectors))))
    epsilon: float = math.ceil(SAFETY * difference / (4.0 * head.scale) * 10**DIGITS) / 10**DIGITS
    return epsilon

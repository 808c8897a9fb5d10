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
# Below this cosine, a phrase encoded here is not the phrase in the lock: then it is not only numbers that differ.
SAME = 0.999


def measure_epsilon(lock: Lock, encoder: Encoder) -> float:
    """ε in units of score: SAFETY times the largest difference that this numeric class makes to a phrase of the lock.

    The golden inputs are the lock's own phrases, with what the lock's encoder made of them. Differences are taken on the
    raw margin, whose slope into a score is largest at the middle, so that a score near 0 or 1 hides nothing.
    Raises LockError when the golden inputs are missing or do not come out as in the lock.
    """
    here = encoder.fingerprint.numeric
    refused = f"policy {lock.policy!r}: the lock was built on {lock.encoder_numeric}, the encoder runs as {here}, and "
    if "text" not in encoder.card.modalities:
        raise LockError(f"{refused}it reads no text, so the lock's phrases cannot be its self-test")
    golden = lock.arrays.get("golden")
    if golden is None or golden.dtype != np.float16 or golden.shape != (len(lock.phrases), lock.width):
        raise LockError(f"{refused}the lock has no golden vectors; compile it again")
    encoded = encoder.encode_text(lock.phrases)
    if encoded.errors:
        raise LockError(
            f"{refused}{len(encoded.errors)} of the lock's {len(lock.phrases)} phrases cannot be encoded here"
        )
    cosines = np.sum(golden.astype(np.float64) * encoded.vectors.astype(np.float64), axis=1)
    if not np.all(cosines > SAME):
        raise LockError(f"{refused}a phrase has cosine {np.min(cosines):.6f} with its golden vector; expected > {SAME}")
    head = Head.from_arrays(lock.level, lock.arrays)
    difference = float(np.max(np.abs(head.raw(golden) - head.raw(encoded.vectors))))
    return float(math.ceil(SAFETY * difference / (4.0 * head.scale) * 10**DIGITS) / 10**DIGITS)

"""How far this machine's scores may lie from those a lock was certified on: ε, measured on the lock's golden inputs."""

from __future__ import annotations

import math

import numpy as np

from moderation.compiler.golden import golden_pictures
from moderation.detector.head import Head
from moderation.encoder.base import Encoded, Encoder, Vectors
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.decide import DIGITS
from moderation.policy.lock import Lock

# Some phrases and pictures stand for all content, so the largest difference seen among them is taken this many times.
SAFETY = 4.0
# Below this cosine, what is encoded here is not what is in the lock: then it is not only numbers that differ.
SAME = 0.999


def measure_epsilon(lock: Lock, encoder: Encoder) -> float:
    """ε in units of score: SAFETY times the largest difference that this numeric class makes to a golden input's score.

    The golden inputs are the lock's own phrases and, where it judges pictures, a few made ones, with what the lock's encoder
    made of them. Differences are taken on the raw margin, whose slope into a score is largest at the middle, so that a score
    near 0 or 1 hides nothing. Raises LockError when the golden inputs are missing or do not come out as in the lock.
    """
    refused = f"policy {lock.policy!r}: the lock was built on {lock.encoder_numeric}, the encoder runs as "
    refused += f"{encoder.fingerprint.numeric}, and "
    if "text" not in encoder.card.modalities:
        raise LockError(f"{refused}it reads no text, so the lock's phrases cannot be its self-test")
    head = Head.from_arrays(lock.level, lock.arrays)
    phrases = _golden(lock, "golden", len(lock.phrases), refused)
    difference = _difference(lock, head, phrases, encoder.encode_text(lock.phrases), f"{refused}a phrase")
    if Modality.IMAGE in lock.modalities:
        made = list(golden_pictures())
        pictures = _golden(lock, "golden_pictures", len(made), refused)
        encoded = encoder.encode_images(made)
        difference = max(difference, _difference(lock, head, pictures, encoded, f"{refused}a golden picture"))
    return float(math.ceil(SAFETY * difference / (4.0 * head.scale) * 10**DIGITS) / 10**DIGITS)


def advice(lock: Lock) -> str:
    """What to do where an encoder does not run as it did when the lock was built."""
    return (
        "run: moderation policy compile, then certify, again here; or let the encoder run as it did there "
        f"({lock.encoder_numeric}): encoders.{lock.encoder}.dtype and .device in the settings"
    )


def _golden(lock: Lock, name: str, count: int, refused: str) -> Vectors:
    golden = lock.arrays.get(name)
    if golden is None or golden.dtype != np.float16 or golden.shape != (count, lock.width):
        raise LockError(f"{refused}the lock's array {name!r} is missing or of another shape; {advice(lock)}")
    return golden


def _difference(lock: Lock, head: Head, golden: Vectors, encoded: Encoded, what: str) -> float:
    """The largest difference of a raw margin between the lock's vectors and those made here."""
    if encoded.errors:
        raise LockError(f"{what} cannot be encoded here: {next(iter(encoded.errors.values()))}")
    cosines = np.sum(golden.astype(np.float64) * encoded.vectors.astype(np.float64), axis=1)
    if not np.all(cosines > SAME):
        lowest = f"{what} has cosine {np.min(cosines):.6f} with its golden vector; expected > {SAME}"
        raise LockError(f"{lowest}; {advice(lock)}")
    return float(np.max(np.abs(head.raw(golden) - head.raw(encoded.vectors))))

"""Whether a lock, and the detectors that count for it, fit the encoder in use, and how far scores may lie from where they were certified."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from moderation.detector.base import Detector
from moderation.detector.linear import ImportedDetector
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoder
from moderation.errors import FingerprintMismatchError, LockError
from moderation.meant import did_you_mean
from moderation.policy.lock import Lock
from moderation.rollout.selftest import measure_epsilon, unpromised

_log = logging.getLogger(__name__)


def check_encoder(lock: Lock, embedders: Mapping[str, Embedder]) -> None:
    """Refuses a lock whose encoder is not there, or is another one: raises LockError, FingerprintMismatchError."""
    if lock.encoder not in embedders:
        raise LockError(
            f"policy {lock.policy!r}: no encoder is named {lock.encoder!r} in the settings"
            f"{did_you_mean(lock.encoder, embedders)}"
        )
    embedder = embedders[lock.encoder]
    card, fingerprint = embedder.encoder.card, embedder.encoder.fingerprint
    if fingerprint.identity != lock.encoder_identity:
        raise FingerprintMismatchError(policy=lock.policy, expected=lock.encoder_identity, found=fingerprint.identity)
    if card.width != lock.width:
        raise LockError(f"policy {lock.policy!r}: the lock is {lock.width} wide, its encoder {card.width}")
    blind = sorted(set(lock.modalities) - set(card.modalities))
    if blind:
        raise LockError(
            f"policy {lock.policy!r}: judges {blind[0]}, but encoder {lock.encoder!r} reads {', '.join(card.modalities)}"
        )


def check_bound(detector: Detector, lock: Lock, embedder: Embedder) -> None:
    """Refuses a detector that was made for another encoder than the one whose vectors it would see."""
    if isinstance(detector, ImportedDetector):
        card, fingerprint = embedder.encoder.card, embedder.encoder.fingerprint
        if detector.encoder not in {card.name, fingerprint.identity} or detector.head.width != card.width:
            raise LockError(
                f"policy {lock.policy!r}: detector {detector.id!r} was made for encoder {detector.encoder!r}, "
                f"{detector.head.width} wide; the policy's is {card.name!r} ({fingerprint.identity}), {card.width} wide"
            )


def epsilon_of(lock: Lock, encoder: Encoder, others: Sequence[Detector]) -> float:
    """ε where it is the lock's encoder on another kind of machine, else 0; `others` are the detectors beside its own whose scores hang on vectors.

    Those of whom it promises nothing are told in the log.
    """
    if encoder.fingerprint.numeric == lock.encoder_numeric:
        return 0.0
    if unknown := unpromised(others):
        _log.warning(
            "policy %s: was certified on %s and runs on %s; detector %s judges by vectors and states no steepness, so that its scores may differ by more than epsilon",
            lock.policy,
            lock.encoder_numeric,
            encoder.fingerprint.numeric,
            ", ".join(unknown),
        )
    return measure_epsilon(lock, encoder, others)

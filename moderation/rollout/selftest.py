"""How far this machine's scores may lie from those a lock was certified on: ε, measured on the lock's golden inputs.

Two numeric classes differ by some η in a vector's numbers before they are rounded to float16, and η is far smaller than a step of
float16. So most numbers stay, and now and then one moves by a whole step u, with probability η/u. What a score does is the sum of such
rare moves: the largest among a few inputs says little of the largest among many. So η is measured, which all numbers of all golden
inputs tell together, and what it does to any item's score is derived from it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from moderation.compiler.golden import golden_pictures
from moderation.detector.base import Detector
from moderation.detector.head import Head
from moderation.detector.linear import ImportedDetector
from moderation.detector.steepness import STEEPEST, stated_steepness, steepness
from moderation.encoder.base import Encoded, Encoder, Vectors
from moderation.encoder.tokens import buckets_of
from moderation.errors import EncoderError, LockError
from moderation.item import Modality
from moderation.policy.decide import DIGITS
from moderation.policy.lock import Lock

# Of items at most this share may have a score that moves further than ε.
SHARE = 0.01
# How sure that is as far as it hangs on the golden inputs' number.
CONFIDENCE = 0.95
# Below this cosine, what is encoded here is not what is in the lock: then it is not only numbers that differ.
SAME = 0.999
# Of a vector's usual number, 1/√d: smaller ones move so often that a few would outweigh all others.
_SMALL = 1 / 32


def measure_epsilon(lock: Lock, encoder: Encoder, others: Sequence[Detector] = ()) -> float:
    """ε in units of score: of items like the golden inputs at most SHARE have a score that another batch or numeric class moves further.

    `others` are those that count beside the lock's head and whose scores hang on vectors: the largest of scores moves no further than one of them
    does, so that each gets its part of SHARE. Who states no steepness (`unpromised`) is not in the promise.

    The golden inputs, the lock's own phrases and, where it judges pictures, a few made ones, are encoded alone and in a full batch. That and
    what the lock's encoder made of them give η, at CONFIDENCE; η gives the variance of an item's raw margin wherever the head is
    steepest (a variance measured on the golden inputs themselves counts where it is larger); Chebyshev's inequality gives SHARE, and the
    score's slope at its middle the rest. Assumed is that a vector's numbers move independently, as rounding has it.
    Raises LockError when the golden inputs are missing or do not come out as in the lock.
    """
    pairs = [
        pair
        for inputs in _inputs(lock, encoder, encoder.encode_images)
        for pair in combinations((inputs.golden, *_encoded(lock, encoder, inputs)), 2)
    ]
    return spread(lock, pairs, others)


def spread(lock: Lock, pairs: Iterable[tuple[Vectors, Vectors]], others: Sequence[Detector] = ()) -> float:
    """How far a score of this lock, `others` beside its head, may move, but for SHARE of the items, between two sides.

    Each pair holds what the two make of the same inputs, float16 [n, d].
    """
    scorers = [_own(Head.from_arrays(lock.level, lock.arrays)), *_others(others)]
    deviation = max((_deviation(scorers, *pair) for pair in pairs), default=0.0)
    moved = deviation / math.sqrt(SHARE / len(scorers))
    return float((math.ceil(moved * 10**DIGITS) + 1) / 10**DIGITS)  # one more, since both scores are rounded


def unpromised(others: Sequence[Detector]) -> list[str]:
    """The ids of those of whose scores ε says nothing, since nobody knows how far they move with a vector."""
    return [one.id for one in others if stated_steepness(one) is None]


def check_golden(locks: Iterable[Lock], encoder: Encoder) -> None:
    """That the encoder of these locks gives what it gave when they were built, alone and in a full batch, as far as they kept it.

    Raises EncoderError where it does not: of the same identity, it is broken, or what it runs on is. Pictures, which are the same for all, are
    encoded once.
    """

    @functools.cache
    def once(pictures: tuple[bytes, ...]) -> Encoded:
        return encoder.encode_images(pictures)

    for lock in locks:
        if "golden" not in lock.arrays or "text" not in encoder.card.modalities:
            continue
        try:
            for inputs in _inputs(lock, encoder, lambda pictures: once(tuple(pictures))):
                for _ in _encoded(lock, encoder, inputs):
                    pass
        except LockError as error:
            raise EncoderError(f"encoder {lock.encoder!r} fails its self-test: {error}") from None


def advice(lock: Lock) -> str:
    """What to do where an encoder does not run as it did when the lock was built."""
    return (
        "run: moderation policy compile, then certify, again here; or let the encoder run as it did there "
        f"({lock.encoder_numeric}): encoders.{lock.encoder}.dtype and .device in the settings"
    )


def eta(there: Vectors, here: Vectors) -> float:
    """How far a number moves on the mean before it is rounded, at CONFIDENCE, from two float16 [n, d] of the same inputs.

    Moves counted in steps are Poisson with mean η · Σ 1/u while they are rare, so the bound is the exact one for a count, which none seen
    does not make 0. Where numbers move by many steps at a time, they count for no more than there are numbers (Kish's effective number).
    """
    numbers = there.astype(np.float64)
    usual = np.abs(numbers) >= _SMALL / math.sqrt(there.shape[1])
    per_step = 1.0 / _steps(there)[usual]
    moves = float(np.sum(np.abs(numbers - here.astype(np.float64))[usual] * per_step))
    at_a_time = 1.0 + moves * float(np.sum(per_step**2) / np.sum(per_step) ** 2)
    return float(at_a_time * gammaincinv(moves / at_a_time + 1.0, CONFIDENCE) / np.sum(per_step))


@dataclass(frozen=True, slots=True, eq=False)
class _Inputs:
    """Golden inputs of one kind: what they are, what the lock's encoder made of them, and how they are encoded here."""

    what: str
    content: Sequence[Any]
    golden: Vectors
    encode: Callable[[Sequence[Any]], Encoded]


def _inputs(lock: Lock, encoder: Encoder, encode_images: Callable[[Sequence[bytes]], Encoded]) -> Iterator[_Inputs]:
    refused = f"policy {lock.policy!r}: the lock was built on {lock.encoder_numeric}, the encoder runs as "
    refused += f"{encoder.fingerprint.numeric}, and "
    if "text" not in encoder.card.modalities:
        raise LockError(f"{refused}it reads no text, so the lock's phrases cannot be its self-test")
    phrases = _golden(lock, "golden", len(lock.phrases), refused)
    yield _Inputs(f"{refused}a phrase", lock.phrases, phrases, encoder.encode_text)
    if Modality.IMAGE in lock.modalities:
        made = list(golden_pictures())
        pictures = _golden(lock, "golden_pictures", len(made), refused)
        yield _Inputs(f"{refused}a golden picture", made, pictures, encode_images)


def _golden(lock: Lock, name: str, count: int, refused: str) -> Vectors:
    golden = lock.arrays.get(name)
    if golden is None or golden.dtype != np.float16 or golden.shape != (count, lock.width):
        raise LockError(f"{refused}the lock's array {name!r} is missing or of another shape; {advice(lock)}")
    return golden


def _encoded(lock: Lock, encoder: Encoder, inputs: _Inputs) -> Iterator[Vectors]:
    """What is made of the inputs here, each alone and all of them in a full batch: what two batches make of one input differs too."""
    count = len(inputs.content)
    full = [*inputs.content] * -(-buckets_of(encoder)[-1] // count)
    for batches in ([[one] for one in inputs.content], [full]):
        encoded = [inputs.encode(batch) for batch in batches]
        for errors in (one.errors for one in encoded if one.errors):
            raise LockError(f"{inputs.what} cannot be encoded here: {next(iter(errors.values()))}")
        vectors = np.concatenate([one.vectors for one in encoded])[:count]
        cosines = np.sum(inputs.golden.astype(np.float64) * vectors.astype(np.float64), axis=1)
        if not np.all(cosines > SAME):
            lowest = f"{inputs.what} has cosine {np.min(cosines):.6f} with its golden vector; expected > {SAME}"
            raise LockError(f"{lowest}; {advice(lock)}")
        yield vectors


@dataclass(frozen=True, slots=True, eq=False)
class _Scorer:
    """What makes a score of a vector: how far that moves at most for a vector that moves by 1, and, where it can be asked, what it does."""

    steepness: float
    values: Callable[[Vectors], NDArray[np.float64]] | None = None


def _own(head: Head) -> _Scorer:
    """The lock's head, as if every item stood where the sigmoid is steepest."""
    slope = STEEPEST / head.scale
    return _Scorer(slope * steepness(head), lambda vectors: slope * head.raw(vectors))


def _others(others: Sequence[Detector]) -> Iterator[_Scorer]:
    for one in others:
        steep = stated_steepness(one)
        if steep is not None:
            yield _Scorer(steep, one.head.score if isinstance(one, ImportedDetector) else None)


def _deviation(scorers: Sequence[_Scorer], there: Vectors, here: Vectors) -> float:
    """The standard deviation of an item's score between two sides, at most: derived where it is steepest, or as measured."""
    moved = eta(there, here)
    # A number's variance is η·u where η is small beside its step u, and that of a normal error of mean size η where it is not.
    variance = moved * float(np.mean(_steps(there))) + math.pi / 2 * moved**2
    measured = [float(np.mean((one.values(there) - one.values(here)) ** 2)) for one in scorers if one.values]
    return math.sqrt(max(*measured, variance * max(one.steepness for one in scorers) ** 2))


def _steps(vectors: Vectors) -> NDArray[np.float64]:
    return np.abs(np.spacing(vectors)).astype(np.float64)

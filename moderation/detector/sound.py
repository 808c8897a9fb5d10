"""Which vectors of a batch an encoder can have made; a detector scores no others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Abstention
from moderation.detector.base import DetectionBatch
from moderation.detector.tiles import to_float32
from moderation.errors import DetectorError

# float16 rounds a unit vector's length by less than this; a vector outside was not made by an encoder.
_NORM_TOLERANCE = 0.02
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class SoundVectors:
    """A batch's vectors, float16 [n, d], those that are not finite or not of unit length set to 0; `unsound` is told of them."""

    vectors: NDArray[np.float16]
    unsound: tuple[Abstention | None, ...]


def sound_vectors(batch: DetectionBatch, *, detector: str, width: int) -> SoundVectors:
    """The vectors that a detector may score. Raises DetectorError when the batch carries none of this width."""
    vectors = batch.embeddings
    if vectors is None or len(vectors) != len(batch) or vectors.shape[1:] != (width,):
        found = "none" if vectors is None else f"{vectors.dtype} {vectors.shape}"
        raise DetectorError(detector, f"found embeddings {found}, expected float16 ({len(batch)}, {width})")
    norms = lengths(vectors)
    sound = is_sound(norms)
    if sound.all():
        return SoundVectors(vectors, (None,) * len(vectors))
    unsound = tuple(
        None if fine else Abstention("unsound_embedding", f"its length is {norm:.3g}, expected 1")
        for fine, norm in zip(sound, norms, strict=True)
    )
    return SoundVectors(np.where(sound[:, None], vectors, np.float16(0.0)), unsound)


def lengths(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    """The length of each vector, float32 [n], some rows at a time; NaN or infinite where a vector is not finite."""
    found = np.empty(len(vectors), np.float32)
    room = np.empty((min(len(vectors), _ROWS_AT_ONCE), vectors.shape[1]), np.float32)
    for first in range(0, len(vectors), _ROWS_AT_ONCE):
        block = vectors[first : first + _ROWS_AT_ONCE]
        exact = room[: len(block)]
        to_float32(block, exact)
        found[first : first + len(block)] = np.sqrt(np.einsum("nd,nd->n", exact, exact))
    odd = np.flatnonzero(~is_sound(found))  # what is not finite came out as a large number
    if len(odd):
        found[odd] = np.linalg.norm(vectors[odd].astype(np.float32), axis=1)
    return found


def is_sound(lengths: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which vectors, by their lengths, an encoder can have made."""
    sound: NDArray[np.bool_] = np.abs(lengths - 1.0) < _NORM_TOLERANCE
    return sound

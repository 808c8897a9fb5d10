"""PDQ, Meta's perceptual hash of a picture: 256 bits of its coarse shape, and how much shape there is to go by.

Written from the description in "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (Meta, 2019) and its reference
code's constants. The two passes of box filters and the decimation to 64 by 64 are linear, and each works on one axis: here they are one
matrix for the rows and one for the columns, so that only 64 by 64 values are ever computed, strip by strip, in bounded memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BITS = 256
BYTES = BITS // 8
BEST_QUALITY = 100

_SIDE = 64  # of the small picture
_KEPT = 16  # frequencies on each axis, the constant one left out
_SMALLEST = 5  # sides below have no hash: the reference returns quality 0
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_STRIP = 1 << 20  # pixels whose luminance is held at once


@dataclass(frozen=True, slots=True)
class Hash:
    """A picture's hash, 32 bytes whose first bit stands for the highest frequencies, and its quality from 0 to 100."""

    bits: bytes
    quality: int


def hash_picture(pixels: NDArray[np.uint8]) -> Hash:
    """The hash of an upright RGB picture, uint8 [height, width, 3]; of one with a side under 5 pixels, no bits and quality 0."""
    if min(pixels.shape[:2]) < _SMALLEST:
        return Hash(bytes(BYTES), 0)
    small = _shrunk(pixels)
    waves = _dct() @ small @ _dct().T
    above = waves.ravel() > np.partition(waves.ravel(), BITS // 2 - 1)[BITS // 2 - 1]  # the lower of two medians
    return Hash(np.packbits(above[::-1]).tobytes(), _quality(small))


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luminance, blurred and sampled at 64 by 64 places."""
    height, width = pixels.shape[:2]
    down, across = _sampling(height), _sampling(width)
    rows = max(1, _STRIP // width)
    blurred = np.zeros((_SIDE, width), dtype=np.float32)
    for top in range(0, height, rows):
        blurred += down[:, top : top + rows] @ (pixels[top : top + rows] @ _LUMA)
    return blurred @ across.T


@lru_cache(maxsize=32)
def _sampling(length: int) -> NDArray[np.float32]:
    """Two box filters, then 64 samples, of one axis: float32 [64, length], each row a weighted mean."""
    window = -(-length // (2 * _SIDE))
    ahead = (window + 2) // 2  # 7 -> 4, 8 -> 5: itself and those after it
    places = np.arange(length)
    first = np.maximum(places - (window - ahead), 0)
    end = np.minimum(places + ahead, length)
    steps = np.zeros((_SIDE, length + 1))
    for row, centre in enumerate(((np.arange(_SIDE) + 0.5) * length / _SIDE).astype(int)):
        seen = slice(first[centre], end[centre])
        share = 1.0 / (end[seen] - first[seen]) / (end[centre] - first[centre])
        np.add.at(steps[row], first[seen], share)
        np.subtract.at(steps[row], end[seen], share)
    return np.cumsum(steps, axis=1)[:, :-1].astype(np.float32)


@lru_cache(maxsize=1)
def _dct() -> NDArray[np.float32]:
    """Rows 1 to 16 of the discrete cosine transform of 64 values."""
    frequency, place = np.arange(1, _KEPT + 1)[:, None], np.arange(_SIDE)[None, :]
    return (np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * frequency * (2 * place + 1))).astype(np.float32)


def _quality(small: NDArray[np.float32]) -> int:
    """How much there is to go by: the sum of the steps between neighbours, each in whole hundredths of the range, over 90."""
    steps = sum(int(np.abs((np.diff(small, axis=axis) * 100 / 255).astype(np.int32)).sum()) for axis in (0, 1))
    return min(steps // 90, BEST_QUALITY)

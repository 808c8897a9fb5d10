"""Pictures that a lock's self-test encodes on another machine: mosaics, coarse to fine, always the same pixels."""

from __future__ import annotations

import random
from collections.abc import Iterator

from moderation.compiler.degenerate import SIDE, png

_TILES = (1, 2, 4, 8)
_LARGE = 32 * SIDE  # of a side of the large picture


def golden_pictures() -> Iterator[bytes]:
    """PNG files of random tiles, two for each number of tiles a side; only their compression hangs on zlib's version."""
    for number in (2 * side for side in _TILES):
        for seed in range(2):
            yield _mosaic(number, random.Random(f"{number} {seed}"))


def large_picture() -> bytes:
    """A PNG file of four million pixels, of coarse tiles: what large pictures cost is seen by it."""
    rng, number = random.Random("large"), _LARGE // SIDE
    rows = [b"".join(rng.randbytes(3) * SIDE for _ in range(number)) for _ in range(number)]
    return png(b"".join(row * SIDE for row in rows), side=_LARGE)


def _mosaic(number: int, rng: random.Random) -> bytes:
    side = SIDE // number
    rows = [[rng.randbytes(3) * side for _ in range(number)] for _ in range(number)]
    return png(b"".join(b"".join(row) * side for row in rows))

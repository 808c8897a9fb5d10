"""Which table entries to look at, so that no hash within the match distance is missed: the pigeonhole principle over bands of bits.

The 256 bits are dealt out to m bands, bit k to band k mod m, and each band gets a radius. Where the radii plus one add up to more than the
match distance D, a hash at most D bits away is within the radius in some band: else it would differ in radius + 1 bits of every band, which
is more than D together. So it is enough to look up, band by band, every key within the radius (multi-index hashing, Norouzi et al. 2012).

Bits are dealt, not cut into pieces, because neighbouring frequencies of real pictures go together: in pieces, twice as many keys collided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from moderation_hashes.pdq import BITS

MATCH_DISTANCE = 31  # bits that may differ, as Meta recommends

_FEWEST = 10  # bands: fewer have tables larger than the hashes themselves
_CHUNK = 1 << 16  # hashes whose bits are unpacked at once


@dataclass(frozen=True, slots=True)
class Bands:
    """A way to deal the bits. `weights` turns bits into keys [256, m]; probe p looks in band `band[p]`, `flips[p]` away from the key.

    The tables of all bands stand one behind the other: that of a band has a place for each key, and one more; it begins at `first`.
    """

    widths: tuple[int, ...]
    radii: tuple[int, ...]
    weights: NDArray[np.float64]
    first: NDArray[np.int64]
    band: NDArray[np.int64]
    flips: NDArray[np.int64]

    @property
    def places(self) -> int:
        """How long the tables are together."""
        return sum(_places(width) for width in self.widths)

    def keys(self, hashes: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """The key of each hash in each band: uint8 [n, 32] to uint32 [m, n]."""
        keys = np.empty((len(self.widths), len(hashes)), dtype=np.uint32)
        for start in range(0, len(hashes), _CHUNK):
            bits = np.unpackbits(hashes[start : start + _CHUNK], axis=1)
            keys[:, start : start + _CHUNK] = (bits @ self.weights).T  # exact: sums below 2^53
        return keys


def count_for(hashes: int) -> int:
    """How many bands suit so many hashes: about one hash for each key, so that tables and candidates both stay small."""
    return max(_FEWEST, min(MATCH_DISTANCE + 1, round(BITS / math.log2(max(hashes, 2)))))


@lru_cache(maxsize=4)
def bands(count: int) -> Bands:
    """So many bands, 32 at most, with radii that miss nothing; the narrower bands get the larger radius."""
    radius, wider = divmod(MATCH_DISTANCE + 1, count)
    radii = tuple(radius - 1 + (number >= count - wider) for number in range(count))
    owner = np.arange(BITS) % count
    widths = tuple(int(one) for one in np.bincount(owner))
    weights = np.zeros((BITS, count))
    weights[np.arange(BITS), owner] = 2.0 ** (np.arange(BITS) // count)
    flips = [_flips(width, reach) for width, reach in zip(widths, radii, strict=True)]
    return Bands(
        widths=widths,
        radii=radii,
        weights=weights,
        first=np.cumsum([0, *(_places(width) for width in widths[:-1])]),
        band=np.repeat(np.arange(count), [len(one) for one in flips]),
        flips=np.concatenate(flips),
    )


def _places(width: int) -> int:
    return (1 << width) + 1


def _flips(width: int, radius: int) -> NDArray[np.int64]:
    """Every key of so many bits of which at most `radius` are set."""
    chosen = (bits for size in range(radius + 1) for bits in combinations(range(width), size))
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], dtype=np.int64)

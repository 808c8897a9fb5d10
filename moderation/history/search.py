"""The rows nearest to some queries, exactly: a fast product finds what may be among them, one in double precision decides.

The fast product is wrong by a bound that is known, so nothing that belongs to the answer is passed over; the answer is then a function of the
vectors alone, whatever the blocks, the threads and the other queries.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.detector.head import usable_cores
from moderation.detector.tiles import TILE_COLUMNS, TILE_ROWS, Floats, Vectors, as_strips, project, room, to_float32

DECIMALS = 6
_ROUNDING = 10.0**-DECIMALS
_ROWS = 4 * TILE_ROWS  # converted at once: what then still lies in a core's own cache
_DECIDED = 1024  # rows that are looked at in double precision at once
_LONGEST = 1.05  # the product of two lengths, at most, of vectors that an encoder can have made


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """One query's best rows: `rows` int64 [k] and their cosines `similarities` float64 [k], rounded to 1e-6, best first, equal ones in the order of their rows."""

    rows: NDArray[np.int64]
    similarities: NDArray[np.float64]


class Nearest:
    """The `top` rows nearest to each of q queries, float16 [q, d], among all that are added; what it holds does not grow with them."""

    def __init__(self, queries: Vectors, *, top: int) -> None:
        self.seen = 0
        self._exact = queries.astype(np.float64)
        self._strips = as_strips(self._exact)
        self._shift = np.zeros(len(self._strips) * TILE_COLUMNS, np.float32)
        self._top, self._cores = top, usable_cores()
        # Of a sum of d products, in whatever order: Higham, Accuracy and Stability of Numerical Algorithms, 3.1.
        self._slack = _LONGEST * queries.shape[1] * 2.0**-24 * 1.01 + _ROUNDING
        nothing = Ranking(np.zeros(0, np.int64), np.zeros(0))
        self.rankings = [nothing] * len(queries)

    def add(self, vectors: Vectors) -> None:
        """Look at more rows, finite and of unit length, float16 [n, d]; they are numbered on from those before."""
        fast = self._products(vectors)
        for query, similar in enumerate(fast.T):
            rows = self._candidates(similar, self.rankings[query])
            self.rankings[query] = self._merged(query, rows, vectors)
        self.seen += len(vectors)

    def _products(self, vectors: Vectors) -> Floats:
        """Every row with every query, float32 [n, q], none further from the true value than the slack allows."""
        found = np.empty((len(vectors), len(self.rankings)), np.float32)

        def work(start: int) -> None:
            buffer, out = np.zeros((_ROWS, vectors.shape[1]), np.float32), room(len(self._shift), _ROWS)
            tiles = buffer.reshape(-1, TILE_ROWS, vectors.shape[1])
            for first in range(start, min(start + span, len(vectors)), _ROWS):
                block = vectors[first : min(first + _ROWS, start + span)]
                to_float32(block, buffer[: len(block)])
                similar = project(tiles, self._strips, self._shift, out)
                found[first : first + len(block)] = similar[: len(block), : found.shape[1]]

        span = max(_ROWS, -(-len(vectors) // self._cores))
        with ThreadPoolExecutor(self._cores) as pool:
            list(pool.map(work, range(0, len(vectors), span)))
        return found

    def _candidates(self, similar: Floats, held: Ranking) -> NDArray[np.int64]:
        """The rows, here from 0, that may be among the best."""
        least = held.similarities[-1] - self._slack if len(held.rows) == self._top else -np.inf
        if len(similar) > self._top:
            own = float(np.partition(similar, -self._top)[-self._top])
            least = max(least, own - 2 * self._slack)
        return np.flatnonzero(similar >= least)

    def _merged(self, query: int, rows: NDArray[np.int64], vectors: Vectors) -> Ranking:
        held = self.rankings[query]
        for first in range(0, len(rows), _DECIDED):
            some = rows[first : first + _DECIDED]
            exact = (vectors[some].astype(np.float64) * self._exact[query]).sum(axis=1).round(DECIMALS)
            together = np.concatenate([held.rows, self.seen + some])
            similar = np.concatenate([held.similarities, exact])
            best = np.lexsort((together, -similar))[: self._top]
            held = Ranking(together[best], similar[best])
        return held

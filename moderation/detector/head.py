"""A compiled policy's head: unit vectors of phrases (and exemplars or a probe where it has them), and the score they give a vector.

Scores are computed in tiles of 48 rows and 8 columns, always that shape, so that a vector's score is the same to the
last bit whatever stands beside it in a batch and whichever other policies are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.detector.head_check import NUMBERS, check, check_names
from moderation.detector.remembered import Remembered
from moderation.detector.tiles import (
    ROWS_PER_BLOCK,
    TILE_COLUMNS,
    TILE_ROWS,
    Floats,
    Vectors,
    as_strips,
    blocks,
    products,
    project,
    room,
)
from moderation.errors import LockError
from moderation.policy.lock import Level

# What a lock holds beside its head: vectors to test the encoder by, marks of what it was made from and of what certified it.
NOT_OF_THE_HEAD = frozenset({"golden", "golden_pictures", "used", "asked"})
DECIMALS = 6

_LIMIT = 80.0
_ROWS_WORTH_A_THREAD = 16 * ROWS_PER_BLOCK


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of n vectors: `values` float64 [n] in [0, 1] rounded to 1e-6, `nearest` int64 [n].

    `nearest` is the index of the violating phrase that lies closest, as the head weighs phrases; at L5 of the one that raised
    the score most.
    """

    values: NDArray[np.float64]
    nearest: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """How one policy scores a vector; made by the compiler, kept in a lock.

    `violating` [v, d] and `contrast` [c, d] are unit vectors, float32. A phrase's similarity s becomes
    gain · (s - offset) (`gain`, `offset` float64 [v + c], violating first; 1 and 0 at L0). At L0 and L1 the raw margin is
    the soft maximum of the violating phrases minus that of the contrast, at the given `sharpness`; at L2 what is `remembered` adds
    to it; at L3 it is anchor · margin + probe · x + bias: the text's margin and what targets add to it. At L5 it is bias and what
    each phrase contributes: weight · log(1 + exp(sharpness · phrase)) / sharpness, a soft maximum of the phrase and 0, less
    the same of the contrast (`weights` float64 [v + c], none below 0). The score is sigmoid((raw - centre) / scale). `strips`,
    `shift` and `pool` are the same as the products want it. Raises LockError when shapes or numbers do not fit.
    """

    level: Level
    violating: Floats
    contrast: Floats
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]
    sharpness: float
    centre: float = 0.0
    scale: float = 1.0
    probe: NDArray[np.float64] | None = None
    bias: float = 0.0
    floor: float = 0.0
    anchor: NDArray[np.float64] | None = None
    remembered: Remembered | None = None
    weights: NDArray[np.float64] | None = None
    strips: Floats = field(init=False, repr=False)
    shift: Floats = field(init=False, repr=False)
    pool: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check(self.level, self.to_arrays())
        for name, array in zip(("strips", "shift", "pool"), _columns(self), strict=True):
            object.__setattr__(self, name, array)

    @property
    def width(self) -> int:
        """The width d of the vectors it scores."""
        return int(self.violating.shape[1])

    def score(self, embeddings: Vectors) -> Scored:
        """Scores of float16 [n, d] unit vectors. Raises ValueError on another dtype or width."""
        return score_many([self], embeddings)[0]

    def raw(self, embeddings: Vectors) -> NDArray[np.float64]:
        """Raw margins, float64 [n], before centre and scale: what the compiler fits on."""
        _check_vectors(embeddings, self.width)
        margins = np.empty(len(embeddings), np.float64)
        for rows, columns in products(embeddings, self.strips, self.shift):
            margins[rows] = _margins(self, columns)[0][: rows.stop - rows.start]
        return margins

    def contributions(self, embeddings: Vectors) -> NDArray[np.float64]:
        """What each phrase adds to the raw margin beside the bias, float64 [n, v + c]: contrast phrases 0 or less, the others 0 or more.

        Raises ValueError below L5, where phrases do not add up.
        """
        _check_vectors(embeddings, self.width)
        if self.weights is None:
            raise ValueError(f"head {self.level}: phrases do not add up to the margin; expected L5")
        split, count = len(self.violating), len(self.weights)
        signed = self.weights * np.where(np.arange(count) < split, 1.0, -1.0) / self.sharpness
        shown = np.empty((len(embeddings), count), np.float64)
        for rows, columns in products(embeddings, self.strips, self.shift):
            shown[rows] = _soften(columns)[: rows.stop - rows.start, :count] * signed
        return shown

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything but the level, as arrays for a lock; the inverse of `from_arrays`."""
        numbers = np.array([getattr(self, name) for name in NUMBERS], np.float64)
        arrays: dict[str, NDArray[Any]] = {
            "violating": self.violating,
            "contrast": self.contrast,
            "gain": self.gain,
            "offset": self.offset,
            "numbers": numbers,
        }
        rest = {"probe": self.probe, "anchor": self.anchor, "weights": self.weights}
        arrays |= {name: array for name, array in rest.items() if array is not None}
        if self.remembered is not None:
            arrays |= self.remembered.to_arrays()
        return arrays

    @classmethod
    def from_arrays(cls, level: Level, arrays: Mapping[str, NDArray[Any]]) -> Head:
        """The head that `to_arrays` wrote; what a lock holds beside it is none of its business.

        Raises LockError that says which array is missing or does not fit.
        """
        arrays = {name: array for name, array in arrays.items() if name not in NOT_OF_THE_HEAD}
        check_names(level, arrays.keys())
        if arrays["numbers"].shape != (len(NUMBERS),):
            raise LockError(f"head {level}: 'numbers' has shape {arrays['numbers'].shape}, expected ({len(NUMBERS)},)")
        numbers: dict[str, Any] = dict(zip(NUMBERS, (float(number) for number in arrays["numbers"]), strict=True))
        named: dict[str, Any] = {name: array for name, array in arrays.items() if name != "numbers"}
        if level == "L2":
            named["remembered"] = Remembered.take_from(named)
        return cls(level=level, **named, **numbers)


def score_many(heads: Sequence[Head], embeddings: Vectors, *, threads: int | None = None) -> list[Scored]:
    """Scores of float16 [n, d] under each head, the conversion to float32 shared among them; one Scored per head.

    `threads` defaults to the cores this process may use; it changes the time, never a bit of the result.
    Raises ValueError when the vectors are not float16 or of another width than a head's.
    """
    count = len(embeddings)
    results = [Scored(np.empty(count, np.float64), np.empty(count, np.int64)) for _ in heads]
    for head in heads:
        _check_vectors(embeddings, head.width)
    workers = min(threads or usable_cores(), count // _ROWS_WORTH_A_THREAD)
    if workers <= 1:
        _score_span(heads, embeddings, (0, count), results)
        return results
    # Spans begin on a block's edge, so each thread sees whole blocks.
    step = -(-count // (8 * workers * ROWS_PER_BLOCK)) * ROWS_PER_BLOCK
    with ThreadPoolExecutor(workers) as pool:
        spans = [(start, min(start + step, count)) for start in range(0, count, step)]
        list(pool.map(lambda span: _score_span(heads, embeddings, span, results), spans))
    return results


def _score_span(heads: Sequence[Head], embeddings: Vectors, span: tuple[int, int], results: Sequence[Scored]) -> None:
    outs = [room(len(head.shift), span[1] - span[0]) for head in heads]
    for rows, tiles in blocks(embeddings, *span):
        count = rows.stop - rows.start
        for head, result, out in zip(heads, results, outs, strict=True):
            margins, nearest = _margins(head, project(tiles, head.strips, head.shift, out))
            result.values[rows] = _squash(head, margins[:count])
            result.nearest[rows] = nearest[:count]


def _margins(head: Head, columns: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if head.weights is not None:
        return _added(head, columns)
    nearest = columns[:, : len(head.violating)].argmax(axis=1)
    probed = None if head.probe is None else columns[:, len(head.gain)].astype(np.float64)
    # log mean exp of each side, so that n equal phrases count as one; both sums come from one product per tile. The
    # limit only keeps exp finite: unit vectors reach it under no head the compiler makes.
    powers = np.exp(np.clip(columns, -_LIMIT, _LIMIT, out=columns), out=columns)
    means = np.matmul(powers.reshape(-1, TILE_ROWS, columns.shape[1]), head.pool).astype(np.float64)
    means = means.reshape(-1, head.pool.shape[1])
    margins = np.log(means[:, 0] / (means[:, 1] + head.floor)) / head.sharpness
    if head.remembered is not None:
        margins += means[:, 2]
    return margins if probed is None or head.anchor is None else head.anchor[0] * margins + probed, nearest


def _added(head: Head, columns: Floats) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """L5: what the phrases add up to, and which violating one adds most."""
    seen, split = _soften(columns), len(head.violating)
    sums = np.matmul(seen.reshape(-1, TILE_ROWS, columns.shape[1]), head.pool).astype(np.float64)
    sums = sums.reshape(-1, head.pool.shape[1])
    return head.bias + sums[:, 0] - sums[:, 1], (seen[:, :split] * head.pool[:split, 0]).argmax(axis=1)


def _soften(columns: Floats) -> Floats:
    """log(1 + exp(column)), in place: what lies far above 0 as it is, what lies far below as next to nothing."""
    np.exp(np.clip(columns, -_LIMIT, _LIMIT, out=columns), out=columns)
    return np.log1p(columns, out=columns)


def _squash(head: Head, margins: NDArray[np.float64]) -> NDArray[np.float64]:
    standard = (margins - head.centre) / head.scale
    return np.round(1.0 / (1.0 + np.exp(-np.clip(standard, -40.0, 40.0))), DECIMALS)


def _columns(head: Head) -> tuple[Floats, Floats, Floats]:
    """The head as strips [strips, d, 8], shifts [columns] and pooling weights [columns, 2], or [columns, 3] at L2.

    At L2 the exemplars' columns follow the phrases', at L3 the probe's; that one has no weight in the pool, nor have columns that
    only fill a strip. At L5 the phrases' own weights are in the pool.
    """
    weigh = head.sharpness * head.gain
    weights = np.concatenate([head.violating, head.contrast]) * weigh[:, None]
    shift = weigh * head.offset
    split, count = len(head.violating), len(weights)
    if head.probe is not None:
        weights, shift = np.concatenate([weights, head.probe[None]]), np.append(shift, -head.bias)
    if head.remembered is not None:
        sharpness = head.remembered.sharpness[0]
        weights = np.concatenate([weights, head.remembered.vectors * sharpness])
        shift = np.append(shift, np.full(len(head.remembered.votes), sharpness))
    strips = as_strips(weights)
    filled = len(strips) * TILE_COLUMNS
    pool = np.zeros((filled, 2 if head.remembered is None else 3), np.float32)
    pool[:split, 0], pool[split:count, 1] = 1 / split, 1 / (count - split)
    if head.weights is not None:
        pool[:split, 0], pool[split:count, 1] = np.split(head.weights / head.sharpness, [split])
    if head.remembered is not None:
        pool[count : len(weights), 2] = head.remembered.votes
    return strips, np.append(shift, np.zeros(filled - len(shift))).astype(np.float32), pool


def _check_vectors(embeddings: Vectors, width: int) -> None:
    if embeddings.dtype != np.float16 or embeddings.ndim != 2 or embeddings.shape[1] != width:
        raise ValueError(f"embeddings are {embeddings.dtype} {embeddings.shape}, expected float16 [n, {width}]")


def usable_cores() -> int:
    """The cores that this process may use, which in a container are often fewer than the machine has."""
    # sched_getaffinity sees a container's or taskset's limit, but not every system has it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""What a batch costs: seconds by kind and size, measured once at the start, and corrected as batches run, by a bounded factor."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from moderation.encoder.header import read_header
from moderation.errors import ItemError
from moderation.item import Modality, Part

SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS = 3
_SLOWER, _FASTER = 8.0, 0.25  # how far batches that ran may take the factor
_WEIGHT = 0.1  # of the newest batch
_NEARLY = 1.1  # times as much is about the same


class Kind(NamedTuple):
    """What runs together in a batch: one encoder's parts of one modality; or, `alone`, what it encodes one by one."""

    encoder: str
    modality: Modality
    alone: bool = False


class Costs:
    """Seconds that a batch takes, by kind and number of parts, from a table of some sizes.

    `pixel_seconds` is what each pixel of a picture adds to that; one of more than `most_pixels` is refused unseen, and adds nothing. A batch of another size costs what the next larger one does, since towers run padded sizes only; a larger one than all is several.
    """

    def __init__(
        self,
        table: Mapping[Kind, Mapping[int, float]],
        *,
        pixel_seconds: Mapping[Kind, float] | None = None,
        most_pixels: float = math.inf,
    ) -> None:
        self._pixel_seconds, self._most_pixels = pixel_seconds or {}, most_pixels
        self._table = {kind: sorted(row.items()) for kind, row in table.items()}
        self._factor = dict.fromkeys(table, 1.0)
        self._pixel_factor = dict.fromkeys(table, 1.0)
        self._largest = {kind: _worth_waiting_for(row) for kind, row in self._table.items()}
        self._within: dict[tuple[Kind, float], int] = {}
        self._together = {kind._replace(alone=alone): kind for kind in table for alone in (False, True)}

    def seconds(self, kind: Kind, parts: int) -> float:
        """How long so many parts take, as it has been of late."""
        return self._factor[self._together[kind]] * self.usual(kind, parts)

    def usual(self, kind: Kind, parts: int) -> float:
        """How long so many parts took at the start."""
        row = self._table[self._together[kind]]
        if kind.alone:
            return parts * row[0][1]
        largest, of_largest = row[-1]
        whole, rest = divmod(parts, largest)
        left = row[bisect.bisect_left(row, (rest, 0.0))][1] if rest else 0.0
        return whole * of_largest + left

    def largest(self, kind: Kind) -> int:
        """The smallest batch that makes parts nearly as cheap as any does: a larger one only keeps others waiting."""
        return 1 if kind.alone else self._largest[kind]

    def within(self, kind: Kind, lone: float) -> int:
        """The largest batch, of those that were measured, that takes no longer than so many lone parts; 1 where none does."""
        if (kind, lone) not in self._within:
            row = self._table[self._together[kind]]
            self._within[kind, lone] = max(size for size, seconds in row if size == 1 or seconds <= lone * row[0][1])
        return self._within[kind, lone]

    def added(self, kind: Kind, part: Part) -> float:
        """What a part takes beside a usual one of its kind: a picture, by its pixels."""
        kind = self._together[kind]
        rate = self._pixel_seconds.get(kind)
        if not rate:
            return 0.0
        try:
            pixels = read_header(part.content).pixels
        except ItemError:
            pixels = 0  # it will be an error, and soon, as one beyond the limit will
        return self._pixel_factor[kind] * rate * pixels if pixels <= self._most_pixels else 0.0

    def took(self, kind: Kind, parts: int, seconds: float, extra: float = 0.0) -> None:
        """Learn from a batch that ran, `extra` being what its pictures were thought to add: load on the machine changes, but no single batch is believed.

        A batch of large pictures tells what pixels cost (decoded ahead and side by side, they cost less than alone), any other what its size does.
        """
        kind, expected = self._together[kind], self.seconds(kind, parts)
        if extra > expected:
            _learn(self._pixel_factor, kind, max(0.0, seconds - expected) / extra)
        elif expected > 0:
            _learn(self._factor, kind, seconds / (expected + extra))


def _learn(factors: dict[Kind, float], kind: Kind, ratio: float) -> None:
    factors[kind] = min(_SLOWER, max(_FASTER, factors[kind] * (1 - _WEIGHT + _WEIGHT * ratio)))


def _worth_waiting_for(row: Sequence[tuple[int, float]]) -> int:
    best = min(seconds / size for size, seconds in row)
    return next(size for size, seconds in row if seconds / size <= _NEARLY * best)


def measure(run: Callable[[int], object], *, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
    """Seconds of `run(parts)` by size: of the first round that takes as long as the one before, about; else the median of some after one that warms up.

    A batch is taken to need no longer than a larger one: where it did, the machine had something else to do, and lone parts would be refused for it.
    """
    found = {}
    for parts in SIZES:
        seconds: list[float] = []
        while len(seconds) <= ROUNDS and not _settled(seconds):
            began = clock()
            run(parts)
            seconds.append(clock() - began)
        found[parts] = seconds[-1] if _settled(seconds) else sorted(seconds[1:])[ROUNDS // 2]
    return {parts: min(found[other] for other in SIZES if other >= parts) for parts in SIZES}


def _settled(seconds: Sequence[float]) -> bool:
    return len(seconds) > 1 and max(seconds[-2:]) <= _NEARLY * min(seconds[-2:])

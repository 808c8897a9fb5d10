"""What is known of kept items beside their content: as rows to keep, and as columns to count by."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

UNKNOWN = -1
NO_DAY = np.iinfo(np.int64).min

Marks = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Target:
    """What a person says of an item under one policy; `weight` is how many kept items this one stands for, None where nobody says."""

    violates: bool
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """One item: `cluster` names what makes items dependent ("": the item alone), `time` knows its zone, `targets` go by policy id."""

    item: str
    cluster: str = ""
    time: dt.datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """n texts, each as the place of its name, int64 [n]; UNKNOWN where there is none."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Column:
        """These rows of it, in this order."""
        return Column(self.names, self.codes[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """n items as columns, with their targets under one policy.

    `item` holds ids; `mark` and `cluster` are uint64 marks of ids and clusters. `target` int8 [n] is 1 where the item violates, 0
    where it does not, UNKNOWN where nobody judged it; `weight` float64 [n] is NaN where it is not said. `day` int64 [n] counts days
    since 1970 in UTC, NO_DAY where the time is not known. `elsewhere` names other policies under which some of them were judged.
    """

    item: NDArray[np.object_]
    mark: Marks
    cluster: Marks
    attributes: Mapping[str, Column]
    target: NDArray[np.int8]
    weight: NDArray[np.float64]
    day: NDArray[np.int64]
    elsewhere: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: NDArray[np.int64]) -> Items:
        """These rows, in this order."""
        return Items(
            item=self.item[rows],
            mark=self.mark[rows],
            cluster=self.cluster[rows],
            attributes={name: column.take(rows) for name, column in self.attributes.items()},
            target=self.target[rows],
            weight=self.weight[rows],
            day=self.day[rows],
            elsewhere=self.elsewhere,
        )


class Seen:
    """Which marks came before, at 8 bytes each: sorted runs, of which neighbours are merged once they are of like length."""

    def __init__(self) -> None:
        self._runs: list[Marks] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def first(self, marks: Marks) -> NDArray[np.bool_]:
        """Which of these are here for the first time, [n]; from now on all of them were seen."""
        run, places = np.unique(marks, return_index=True)
        new = np.ones(len(run), np.bool_)
        for known in self._runs:
            at = np.minimum(np.searchsorted(known, run), len(known) - 1)
            new &= known[at] != run
        here = np.zeros(len(marks), np.bool_)
        here[places[new]] = True
        self._add(run[new])
        return here

    def _add(self, run: Marks) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)


def marks_of(names: Iterable[str]) -> Marks:
    """One mark for each name, from its hash: among a million different names two share one with a chance of 3e-8."""
    digests = (hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), np.uint64)


def column_of(values: Iterable[str | None]) -> Column:
    """Texts as a column."""
    places: dict[str, int] = {}
    codes = [UNKNOWN if value is None else places.setdefault(value, len(places)) for value in values]
    return Column(tuple(places), np.array(codes, np.int64))

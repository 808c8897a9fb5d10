"""How much each action would take: of all that a policy judges, day by day, and by the clusters it comes from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moderation.history.items import NO_DAY, Items
from moderation.release.comparison import ERROR, OUT_OF_SCOPE, Side, bands_of
from moderation.release.shares import Events, Share, Tried


@dataclass(frozen=True, slots=True)
class Load:
    """What one action takes: `items` get exactly this, `errors` of them since they could not be judged; `taken` gets this or a stronger one.

    `threshold` is None where none is certified: then only errors get it. `budget` bounds `taken`. `a_day` holds the fewest, the mean
    and the most items of a day, None where no times are known.
    """

    action: str
    threshold: float | None
    items: int
    errors: int
    per_thousand: float
    taken: Share
    budget: float | None
    a_day: tuple[int, float, int] | None

    @property
    def over(self) -> bool:
        """Whether it surely takes more than its budget: the lower end of the interval does."""
        return self.budget is not None and self.taken.low > self.budget

    @property
    def may_be_over(self) -> bool:
        """Whether it was seen to take more than its budget, which chance alone could explain."""
        return self.budget is not None and not self.over and (self.taken.value or 0.0) > self.budget


@dataclass(frozen=True, slots=True)
class Day:
    """One day in UTC: the items judged, and those that got exactly each action."""

    day: str
    items: int
    actions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Loads:
    """One build's loads, the strongest action first, and its days; `judged` counts items in its scope, `undated` those of no known time."""

    judged: int
    loads: tuple[Load, ...]
    days: tuple[Day, ...]
    undated: int


class LoadCounter:
    """Counts what one build's actions take, some items at a time. `thresholds` by action: the one certified, None where there is none."""

    def __init__(self, thresholds: Mapping[str, float | None], order: Sequence[str]) -> None:
        self._order = tuple(order)
        self._thresholds = thresholds
        self._counts = np.zeros((2, len(order)), np.int64)  # judged, and errors, by force
        self._taken, self._tried = Events(), Tried()
        self._days: dict[int, np.ndarray] = {}

    @property
    def by_force(self) -> np.ndarray:
        """How many items in scope got each force, int64 [actions]; one that could not be judged got that of `on_error`."""
        counts: np.ndarray = self._counts.sum(axis=0)
        return counts

    def add(self, items: Items, side: Side) -> None:
        """Count n items; those out of scope are nobody's load."""
        bands, width = bands_of(self._order), len(self._order)
        inside = np.flatnonzero(side.band != bands.index(OUT_OF_SCOPE))
        force, error = side.force[inside], side.band[inside] == bands.index(ERROR)
        self._counts += np.bincount(force + width * error, minlength=2 * width).reshape(2, width)
        self._tried.add(np.zeros(len(inside), np.int64), items.mark[inside], items.cluster[inside])
        for place in range(1, width):
            rows = inside[force >= place]
            self._taken.add(np.full(len(rows), place), items.cluster[rows])
        days, which = np.unique(items.day[inside], return_inverse=True)
        table = np.bincount(which * width + force, minlength=len(days) * width).reshape(len(days), width)
        for day, row in zip(days.tolist(), table, strict=True):
            self._days[day] = self._days.get(day, 0) + row

    def result(self, budgets: Mapping[str, float]) -> Loads:
        """The loads so far of every action that the policy names, or that errors get."""
        total, counts = int(self._counts.sum()), self._counts.sum(axis=0).tolist()
        trials, effective = self._tried.result(1)
        taken = self._taken.shares(trials.repeat(len(self._order)), effective.repeat(len(self._order)))
        dated = {day: row for day, row in sorted(self._days.items()) if day != NO_DAY}
        named = [
            place
            for place in range(len(self._order) - 1, 0, -1)
            if self._order[place] in self._thresholds or counts[place]
        ]
        loads = tuple(
            Load(
                action=self._order[place],
                threshold=self._thresholds.get(self._order[place]),
                items=counts[place],
                errors=int(self._counts[1, place]),
                per_thousand=1000.0 * counts[place] / total if total else 0.0,
                taken=taken[place],
                budget=budgets.get(self._order[place]),
                a_day=_a_day([int(row[place]) for row in dated.values()]),
            )
            for place in named
        )
        days = tuple(
            Day(_date(day), int(row.sum()), {self._order[place]: int(row[place]) for place in named})
            for day, row in dated.items()
        )
        return Loads(total, loads, days, int(np.sum(self._days.get(NO_DAY, 0))))


def _a_day(counts: Sequence[int]) -> tuple[int, float, int] | None:
    return (min(counts), sum(counts) / len(counts), max(counts)) if counts else None


def _date(day: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()

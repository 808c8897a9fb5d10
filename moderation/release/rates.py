"""Precision and recall of a build on kept items of which people judged some, and why where they cannot be told.

Judged items are seldom a random sample of what was kept: reviewers see what was flagged. So a rate is said of all kept items only where
everything was judged, or where each judged item says how many kept ones it stands for (its weight, one over its chance of being
drawn). Then precision is the weighted share of violating items among those that got the action (Hájek 1971), and recall follows from
it, from the same share among those left alone, and from how many items there are of both kinds, which is known: N1·p / (N1·p + N0·q). A
ratio of weighted sums alone would take no miss among a few judged items for none among all that they stand for.

An item that could not be judged by the build got what `on_error` asks for, and counts so: violating, it is missed by every stronger action.

An interval is the exact binomial one at the effective number of independent items (Korn and Graubard 1998), of which there are no more
than Kish's (Σw)²/Σw². Recall's joins two such intervals, each with half the error. Without weights a rate is one of the judged items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moderation.audit.cells import cells_of
from moderation.history.items import UNKNOWN, Items
from moderation.release.comparison import OUT_OF_SCOPE, Side, bands_of
from moderation.release.shares import SIDED, interval

Basis = Literal["kept", "judged"]

WRONG_WEIGHT = "judged, but its weight is no number above 0"
NO_WEIGHT = "judged without a weight, where others have one"
NOT_IN_SCOPE = "judged, but out of the policy's scope"
# By how much the judged items may stand for another number than there is, beyond what drawing them by lot explains.
_SLACK, _ERRORS = 0.1, 4.0
_HALF = ("was left alone", "got it")


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate with its 95 % interval, None and `why` where it cannot be told. `basis` says of what: all kept items, or the judged ones.

    Of `judged` items that people judged, `hits` count for it: of recall, those that violate; they are of `clusters`, and worth as many
    independent ones as `effective` says (of recall with weights, all judged items are).
    """

    value: float | None
    low: float | None
    high: float | None
    judged: int
    hits: int
    clusters: int
    effective: float
    basis: Basis
    why: str = ""


@dataclass(frozen=True, slots=True)
class ActionRates:
    """Precision and recall of an action or a stronger one."""

    action: str
    precision: Rate
    recall: Rate


@dataclass(frozen=True, slots=True)
class Rates:
    """One build's rates by action, the strongest first, and the share of violating items among those it judges."""

    actions: tuple[ActionRates, ...]
    prevalence: Rate
    unrated: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """Judged items in columns of n: what a person says, how many it stands for, its cluster, and the force of what it got."""

    target: NDArray[np.float64]
    weight: NDArray[np.float64]
    cluster: NDArray[np.uint64]
    force: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> _Judged:
        return _Judged(self.target[rows], self.weight[rows], self.cluster[rows], self.force[rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Halves:
    """Of the items left alone and of those flagged, float64 [2]: how many there are, and what is known of the violating share of each."""

    kept: NDArray[np.float64]
    judged: NDArray[np.int64]
    violating: NDArray[np.int64]
    clusters: NDArray[np.float64]
    rate: NDArray[np.float64]
    effective: NDArray[np.float64]
    stands_for: NDArray[np.float64]
    error: NDArray[np.float64]


class RateCounter:
    """Collects the judged items of one build, some at a time: some 30 bytes of each, and nothing of the others."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order, self._bands = tuple(order), bands_of(order)
        nothing = np.zeros(0)
        self._parts = [_Judged(nothing, nothing, nothing.astype(np.uint64), nothing.astype(np.int64))]
        self._unrated: dict[str, int] = {}
        self._elsewhere: frozenset[str] = frozenset()

    def add(self, items: Items, side: Side) -> None:
        """Take in those of n items that were judged."""
        self._elsewhere |= items.elsewhere
        rows = np.flatnonzero(items.target != UNKNOWN)
        weight = items.weight[rows]
        wrong = ~np.isnan(weight) & ~((weight > 0) & np.isfinite(weight))
        outside = side.band[rows] == self._bands.index(OUT_OF_SCOPE)
        self._leave_out(WRONG_WEIGHT, int(wrong.sum()))
        self._leave_out(NOT_IN_SCOPE, int((outside & ~wrong).sum()))
        rows = rows[~wrong & ~outside]
        target = items.target[rows].astype(np.float64)
        self._parts.append(_Judged(target, items.weight[rows], items.cluster[rows], side.force[rows]))

    def result(self, actions: Sequence[str], by_force: NDArray[np.int64]) -> Rates:
        """The rates of these actions; `by_force` int64 [actions] counts all kept items in scope by the force of what they got."""
        judged, basis, weighed = self._judged(int(by_force.sum()))
        places = sorted((self._order.index(one) for one in set(actions)), reverse=True)
        halves = [_halves(judged, by_force, place) for place in places]
        rates = tuple(
            ActionRates(
                self._order[place],
                _precision(one, basis),
                _recall_by_halves(one) if weighed else _recall(one, judged, place, basis),
            )
            for place, one in zip(places, halves, strict=True)
        )
        prevalence = (
            _prevalence_by_halves(halves[-1]) if weighed and halves else _prevalence(judged, basis, self._elsewhere)
        )
        return Rates(rates, prevalence, dict(sorted(self._unrated.items())))

    def _judged(self, kept: int) -> tuple[_Judged, Basis, bool]:
        """All judged items, what their rates are of, and whether they say how many they stand for."""
        columns = ("target", "weight", "cluster", "force")
        every = _Judged(*(np.concatenate([getattr(one, name) for one in self._parts]) for name in columns))
        said = ~np.isnan(every.weight)
        if said.any():
            self._leave_out(NO_WEIGHT, int((~said).sum()))
            return every.take(said), "kept", True
        ones = replace(every, weight=np.ones(len(said)))
        return ones, "kept" if len(said) == kept else "judged", False

    def _leave_out(self, reason: str, count: int) -> None:
        if count:
            self._unrated[reason] = self._unrated.get(reason, 0) + count


def _halves(judged: _Judged, by_force: NDArray[np.int64], place: int) -> _Halves:
    flagged = (judged.force >= place).astype(np.int64)
    cells = cells_of(
        flagged, judged.target, np.unique(judged.cluster, return_inverse=True)[1], groups=2, weight=judged.weight
    )
    count = np.bincount(flagged, minlength=2)
    # Where a half's items stand for equally many, and are of a cluster each, its interval is the exact one of their number.
    alike = np.array([len(np.unique(judged.weight[flagged == half])) <= 1 for half in (0, 1)])
    return _Halves(
        kept=np.array([by_force[:place].sum(), by_force[place:].sum()], np.float64),
        judged=count,
        violating=np.bincount(flagged, judged.target, 2).astype(np.int64),
        clusters=cells.clusters,
        rate=np.nan_to_num(cells.rate),
        effective=np.where(alike & (cells.clusters == count), count, cells.effective),
        stands_for=cells.items,
        error=np.sqrt(np.bincount(flagged, judged.weight * np.maximum(judged.weight - 1.0, 0.0), 2)),
    )


def _precision(halves: _Halves, basis: Basis) -> Rate:
    counts, why = (int(halves.judged[1]), int(halves.violating[1])), ""
    if not counts[0]:
        why = f"no judged item {_HALF[1]}"
    elif basis == "judged" and halves.violating.sum() == halves.judged.sum():
        why = "every judged item violates, so nothing is known of wrong alarms"
    elif basis == "kept":
        why = _uncovered(halves, 1)
    return _unknown(counts, basis, why) if why else _rate(halves, 1, basis, counts)


def _recall(halves: _Halves, judged: _Judged, place: int, basis: Basis) -> Rate:
    violating = judged.target > 0
    counts, why = (int(halves.violating.sum()), int(halves.violating[1])), ""
    if not counts[0]:
        why = "no judged item violates"
    elif basis == "judged" and not halves.judged[0]:
        why = f"no judged item {_HALF[0]}, so nothing is known of what is missed"
    if why:
        return _unknown(counts, basis, why)
    return _rate(_whole(judged.take(violating), judged.force[violating] >= place), 0, basis, counts)


def _prevalence(judged: _Judged, basis: Basis, elsewhere: frozenset[str]) -> Rate:
    counts = len(judged.target), int(judged.target.sum())
    if not counts[0]:
        others = ", ".join(repr(one) for one in sorted(elsewhere))
        return _unknown(
            counts, basis, "no item is judged" + (f" under this policy; some are under {others}" if others else "")
        )
    return _rate(_whole(judged, judged.target > 0), 0, basis, counts)


def _whole(judged: _Judged, event: NDArray[np.bool_]) -> _Halves:
    """All of these judged items as the first half, `event` being what is counted."""
    own = replace(judged, target=event.astype(np.float64), force=np.zeros(len(event), np.int64))
    return _halves(own, np.array([len(event)]), 1)


def _recall_by_halves(halves: _Halves) -> Rate:
    """N1·p / (N1·p + N0·q): it rises with p and falls with q, so the ends of their intervals give its own."""
    counts = int(halves.violating.sum()), int(halves.violating[1])
    why = _uncovered(halves, 1) or _uncovered(halves, 0) or ("" if counts[0] else "no judged item violates")
    if why:
        return _unknown(counts, "kept", why)
    (q_low, q_high), (p_low, p_high) = (_ends(halves, half, SIDED / 2) for half in (0, 1))
    p, q = halves.rate[1], halves.rate[0]
    return _joined(halves, _found(halves, p, q), _found(halves, p_low, q_high), _found(halves, p_high, q_low), counts)


def _prevalence_by_halves(halves: _Halves) -> Rate:
    """(N1·p + N0·q) / N."""
    counts = int(halves.judged.sum()), int(halves.violating.sum())
    why = _uncovered(halves, 1) or _uncovered(halves, 0)
    if why:
        return _unknown(counts, "kept", why)
    ends = np.array([_ends(halves, half, SIDED / 2) for half in (0, 1)])
    value, low, high = (float(halves.kept @ one / halves.kept.sum()) for one in (halves.rate, *ends.T))
    return _joined(halves, value, low, high, counts)


def _uncovered(halves: _Halves, half: int) -> str:
    """Why nothing can be said of a half: nobody judged any of it, or what was judged does not stand for it."""
    kept, stands_for = float(halves.kept[half]), float(halves.stands_for[half])
    if kept and not halves.judged[half]:
        return f"no judged item {_HALF[half]}" + ("" if half else ", so nothing is known of what is missed")
    if abs(stands_for - kept) <= max(_SLACK * kept, _ERRORS * float(halves.error[half])):
        return ""
    return f"the judged items that {_HALF[half].replace('was', 'were')} stand for {stands_for:,.0f}, of which there are {kept:,.0f}"


def _ends(halves: _Halves, half: int, sided: float) -> tuple[float, float]:
    return interval(float(halves.rate[half] * halves.effective[half]), float(halves.effective[half]), sided)


def _found(halves: _Halves, p: float, q: float) -> float:
    missed, found = float(halves.kept[0] * q), float(halves.kept[1] * p)
    return found / (found + missed) if found + missed else float(not halves.kept[0])


def _rate(halves: _Halves, half: int, basis: Basis, counts: tuple[int, int]) -> Rate:
    low, high = _ends(halves, half, SIDED)
    clusters, effective = int(halves.clusters[half]), float(halves.effective[half])
    return Rate(float(halves.rate[half]), low, high, *counts, clusters, effective, basis)


def _joined(halves: _Halves, value: float, low: float, high: float, counts: tuple[int, int]) -> Rate:
    return Rate(value, low, high, *counts, int(halves.clusters.sum()), float(halves.effective.sum()), "kept")


def _unknown(counts: tuple[int, int], basis: Basis, why: str) -> Rate:
    return Rate(None, None, None, *counts, 0, 0.0, basis, f"not estimable: {why}")

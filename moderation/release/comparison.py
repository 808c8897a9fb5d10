"""Two builds of a policy on the same items, counted as they come: who changes band, which way, in which slice, and examples of it.

Where a build's word comes from is all one: items decided twice, kept vectors, kept scores, or decisions that were made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Outcome
from moderation.history.items import UNKNOWN, Column, Items
from moderation.policy.columns import OUTCOMES
from moderation.release.shares import Events, Share, Tried, share

NOTHING, ERROR, OUT_OF_SCOPE = "nothing", "error", "out of scope"
EXAMPLES = 10
MOST_VALUES = 200  # of an attribute: one with more is no group

NO_PHRASE = "none"

_STRICTER, _MILDER, _OTHER = range(_WAYS := 3)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one build says of n items: `band` int64 [n] is a place among `bands`, `force` int64 [n] that of the action in the order of force.

    An item that is left alone has force 0, and so has one out of scope; one that could not be judged has that of `on_error`. `score`
    float64 [n] is NaN where there is none, `concept` the phrase that carried it.
    """

    band: NDArray[np.int64]
    force: NDArray[np.int64]
    score: NDArray[np.float64]
    concept: Column

    def take(self, rows: NDArray[np.int64]) -> Side:
        """These rows, in this order."""
        return Side(self.band[rows], self.force[rows], self.score[rows], self.concept.take(rows))


@dataclass(frozen=True, slots=True)
class Moved:
    """One item that changed band: its id, bands, scores (None where there was none), and the phrase nearest to it now.

    `target` is None where nobody judged it.
    """

    item: str
    target: bool | None
    before: str
    after: str
    score_before: float | None
    score_after: float | None
    concept: str | None

    def ending(self, most: int) -> str:
        """The last so many characters of the id, with a mark where there are more: the ends of paths tell them apart."""
        return self.item if len(self.item) <= most else f"…{self.item[1 - most :]}"


@dataclass(frozen=True, slots=True)
class Flip:
    """Items that went from one band to another, among all; `violating` and `benign` count those that people judged."""

    before: str
    after: str
    share: Share
    violating: int
    benign: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Of the items of one kind: how many changed band, and how many are asked more of now than before, or less."""

    name: str
    items: int
    changed: Share
    stricter: Share
    milder: Share


@dataclass(frozen=True, slots=True)
class Compared:
    """Everything that differs. `matrix` counts items by band before and after, `flips` the pairs that differ, the most frequent first,
    `overall` all items.

    `by_group` holds attributes' values, `by_concept` the phrase nearest under the new build; `unstated` counts items that do not state an
    attribute, None for one of too many values to be a group. `examples` are items whose scores moved most, each way.
    """

    items: int
    matrix: Mapping[str, Mapping[str, int]]
    overall: Slice
    flips: tuple[Flip, ...]
    targets: Mapping[str, Mapping[str, int]]
    by_group: tuple[Slice, ...]
    by_concept: tuple[Slice, ...]
    unstated: Mapping[str, int | None]
    examples: tuple[Moved, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The bands that any item is in, before or after."""
        return tuple(
            band
            for band, row in self.matrix.items()
            if any(row.values()) or any(one[band] for one in self.matrix.values())
        )


def bands_of(order: Sequence[str]) -> tuple[str, ...]:
    """The bands that items can be in, `order` naming actions by force: nothing, each action, and what was not judged."""
    return (NOTHING, *order[1:], ERROR, OUT_OF_SCOPE)


def side_of(
    outcome: NDArray[np.int64],
    force: NDArray[np.int64],
    score: NDArray[np.float64],
    concept: Column,
    order: Sequence[str],
) -> Side:
    """A side from verdicts: outcomes as places among OUTCOMES, UNKNOWN where an item is out of scope; forces below 0 where nothing is asked."""
    bands, asked = bands_of(order), np.maximum(force, 0)
    band = np.where(outcome == OUTCOMES.index(Outcome.ERROR), bands.index(ERROR), asked)
    out = outcome == UNKNOWN
    return Side(np.where(out, bands.index(OUT_OF_SCOPE), band), np.where(out, 0, asked), score, concept)


class Comparison:
    """Counts what two sides say of items, some at a time; it keeps a few bytes of each item that changed, and of each cluster that is named."""

    def __init__(self, order: Sequence[str]) -> None:
        self._bands = bands_of(order)
        count = len(self._bands)
        self._matrix = np.zeros((count, count), np.int64)
        self._judged = np.zeros((count, count, 2), np.int64)
        self._flips = Events()
        self._everything = _Slices()
        self._groups: dict[str, _Slices] = {}
        self._concepts = _Slices()
        self._stated: dict[str, int] = {}
        self._examples: list[list[tuple[float, int, Moved]]] = [[], [], []]

    def add(self, items: Items, before: Side, after: Side) -> None:
        """Count n items."""
        count = len(self._bands)
        pair = before.band * count + after.band
        self._matrix += np.bincount(pair, minlength=count**2).reshape(count, count)
        known = items.target != UNKNOWN
        self._judged += np.bincount(2 * pair[known] + items.target[known], minlength=2 * count**2).reshape(
            count, count, 2
        )
        changed = np.flatnonzero(before.band != after.band)
        way = _ways(before.force[changed], after.force[changed])
        self._flips.add(pair[changed], items.cluster[changed])
        self._everything.add(Column(("all",), np.zeros(len(items), np.int64)), items, changed, way)
        self._concepts.add(_named(after.concept), items, changed, way)
        for name, column in items.attributes.items():
            self._stated[name] = self._stated.get(name, 0) + int((column.codes != UNKNOWN).sum())
            self._groups.setdefault(name, _Slices()).add(column, items, changed, way)
        for side in range(len(self._examples)):
            self._keep(side, items, before, after, changed[way == side])

    def result(self) -> Compared:
        """Everything counted so far."""
        total = int(self._matrix.sum())
        pairs = [(b, a) for b in range(len(self._bands)) for a in range(len(self._bands))]
        trials, effective = self._everything.tried.result(1)
        shares = self._flips.shares(trials.repeat(len(pairs)), effective.repeat(len(pairs)))
        flips = [
            Flip(self._bands[b], self._bands[a], one, int(self._judged[b, a, 1]), int(self._judged[b, a, 0]))
            for (b, a), one in zip(pairs, shares, strict=True)
            if a != b and one.hits
        ]
        none = share(0, 0)
        (everything,) = self._everything.result() or (Slice("all", 0, none, none, none),)
        groups = {name: slices for name, slices in sorted(self._groups.items()) if not slices.too_many}
        stays = np.eye(len(self._bands), dtype=np.bool_)
        return Compared(
            items=total,
            matrix={
                one: dict(zip(self._bands, row.tolist(), strict=True))
                for one, row in zip(self._bands, self._matrix, strict=True)
            },
            overall=everything,
            flips=tuple(sorted(flips, key=lambda one: (-one.share.hits, one.before, one.after))),
            targets={
                name: {"items": int(self._judged[..., side].sum()), "changed": int(self._judged[~stays, side].sum())}
                for name, side in (("violating", 1), ("benign", 0))
            },
            by_group=_by_change(one for name, slices in groups.items() for one in slices.result(f"{name} ")),
            by_concept=_by_change(self._concepts.result()),
            unstated={name: total - count if name in groups else None for name, count in sorted(self._stated.items())},
            examples=tuple(one for way in self._examples for *_, one in way),
        )

    def _keep(self, way: int, items: Items, before: Side, after: Side, rows: NDArray[np.int64]) -> None:
        """Keeps those of these rows, and of all before them, whose scores moved most; ties go by the ids' marks, which is as good as by lot."""
        moved = np.abs(np.nan_to_num(after.score[rows]) - np.nan_to_num(before.score[rows]))
        for place in np.lexsort((items.mark[rows], -moved))[:EXAMPLES].tolist():
            row = int(rows[place])
            self._examples[way].append(
                (-float(moved[place]), int(items.mark[row]), self._moved(items, before, after, row))
            )
        self._examples[way] = sorted(self._examples[way], key=lambda one: one[:2])[:EXAMPLES]

    def _moved(self, items: Items, before: Side, after: Side, row: int) -> Moved:
        place = int(after.concept.codes[row])
        scores = [None if math.isnan(one.score[row]) else float(one.score[row]) for one in (before, after)]
        return Moved(
            item=str(items.item[row]),
            target=None if items.target[row] == UNKNOWN else bool(items.target[row]),
            before=self._bands[before.band[row]],
            after=self._bands[after.band[row]],
            score_before=scores[0],
            score_after=scores[1],
            concept=None if place == UNKNOWN else after.concept.names[place],
        )


class _Slices:
    """Items and changes of each value of one thing."""

    def __init__(self) -> None:
        self.too_many, self.tried = False, Tried()
        self._places: dict[str, int] = {}
        self._events = Events()

    def add(self, column: Column, items: Items, changed: NDArray[np.int64], way: NDArray[np.int64]) -> None:
        if self.too_many or not column.names:
            return
        places = np.array([self._places.setdefault(name, len(self._places)) for name in column.names], np.int64)
        if len(self._places) > MOST_VALUES:
            self.too_many, self.tried, self._events, self._places = True, Tried(), Events(), {}
            return
        known = column.codes != UNKNOWN
        self.tried.add(places[column.codes[known]], items.mark[known], items.cluster[known])
        rows = column.codes[changed]
        stated = rows != UNKNOWN
        self._events.add(_WAYS * places[rows[stated]] + way[stated], items.cluster[changed][stated])

    def result(self, prefix: str = "") -> list[Slice]:
        """The slices, in the order they came."""
        counts, effective = self.tried.result(len(self._places))
        ways = self._events.shares(counts.repeat(_WAYS), effective.repeat(_WAYS))
        changed = self._events.joined(_WAYS).shares(counts, effective)
        return [
            Slice(prefix + name, int(counts[place]), changed[place], *ways[_WAYS * place : _WAYS * place + 2])
            for name, place in self._places.items()
        ]


def _ways(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(after > before, _STRICTER, np.where(after < before, _MILDER, _OTHER))


def _named(concept: Column) -> Column:
    """The phrases, and `none` for items that have none."""
    return Column((*concept.names, NO_PHRASE), np.where(concept.codes == UNKNOWN, len(concept.names), concept.codes))


def _by_change(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    return tuple(sorted((one for one in slices if one.items), key=lambda one: (-(one.changed.value or 0.0), one.name)))

"""Counterfactual pairs: items of one cluster that differ in one attribute and in no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.stats import binomtest

from moderation.audit.cells import cells_of
from moderation.audit.gaps import adjust
from moderation.audit.sample import Codes, Floats, Sample

WORST = 10
LISTED = 200  # swaps that a result names: of hundreds of groups there are tens of thousands


@dataclass(frozen=True, slots=True)
class Swap:
    """What happens where `a` becomes `b` and nothing else changes: pairs, flips either way, and the mean change of the score.

    `p` is McNemar's exact test (1947) over clusters, each counted once by the direction that most of its pairs take, corrected by
    Holm over all swaps of the attribute.
    """

    a: str
    b: str
    pairs: int
    clusters: int
    only_a: int
    only_b: int
    score_change: float
    p: float


@dataclass(frozen=True, slots=True)
class Move:
    """How many pairs have one item with the action `one` and one with `other`; the same action where nothing changes."""

    one: str
    other: str
    pairs: int


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """All swaps of one attribute: `flips` of `pairs` are treated differently, a rate with a 95 % interval that knows clusters.

    Of `tested` swaps those are listed that are least likely by chance. `worst` are the pairs whose scores lie farthest apart, as ids
    and the difference, one of each set of items that are alike but for the attribute.
    """

    attribute: str
    pairs: int
    flips: int
    flip_rate: float | None
    low: float | None
    high: float | None
    moves: tuple[Move, ...]
    tested: int
    swaps: tuple[Swap, ...]
    worst: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """Items [n] that have a counterpart: their `row` in the sample, and their set of u that are alike but for the code of k.

    `items`, `flagged` and `score` are sums by set and code, [u, k]; `cluster` is each set's, [u].
    """

    row: Codes
    unit: Codes
    code: Codes
    items: Floats
    flagged: Floats
    score: Floats
    cluster: Codes


def compare_counterfactuals(
    sample: Sample, attribute: str, *, others: Sequence[str], order: Sequence[str]
) -> Counterfactuals:
    """Every pair of items of one cluster with the same target and the same `others`, and another value of `attribute`.

    `order` names the actions, weakest first. An item is flagged where anything is done to it.
    """
    names, alike = sample.groups[attribute].names, _alike(sample, attribute, others)
    pairs, only = alike.items.T @ alike.items, alike.flagged.T @ (alike.items - alike.flagged)
    change = alike.items.T @ alike.score - alike.score.T @ alike.items
    swaps = []
    for a, b in zip(*np.nonzero(np.triu(pairs, 1)), strict=True):
        counts = int(pairs[a, b]), *_directions(alike, a, b)
        mean = float(change[a, b] / pairs[a, b])
        clusters, p = counts[1:]
        swaps.append(Swap(names[a], names[b], counts[0], clusters, int(only[a, b]), int(only[b, a]), mean, p))
    corrected = adjust([swap.p for swap in swaps], "holm")
    swaps = [replace(swap, p=p) for swap, p in zip(swaps, corrected, strict=True)]
    swaps.sort(key=lambda one: (one.p, -abs(one.only_a - one.only_b), -abs(one.score_change)))
    found, flips = int(np.triu(pairs, 1).sum()), int(only.sum() - np.trace(only))
    rate, low, high = _flip_rate(alike) if found else (None, None, None)
    moves = _moves(sample, alike, order)
    return Counterfactuals(
        attribute, found, flips, rate, low, high, moves, len(swaps), tuple(swaps[:LISTED]), _worst(sample, alike)
    )


def _alike(sample: Sample, attribute: str, others: Sequence[str]) -> _Alike:
    """The items that are the same as another one but for the attribute: of one cluster, one target, and equal in every other attribute."""
    codes, count = sample.groups[attribute].codes, len(sample.groups[attribute].names)
    row = np.nonzero(codes >= 0)[0]
    same = [sample.cluster, sample.target.astype(np.int64), *(sample.groups[name].codes for name in others)]
    _, unit = np.unique(np.stack(same, axis=1)[row], axis=0, return_inverse=True)
    met = np.unique(unit * max(count, 1) + codes[row]) // max(count, 1)
    row = row[np.isin(unit, np.nonzero(np.bincount(met, minlength=1) > 1)[0])]
    _, first, unit = np.unique(np.stack(same, axis=1)[row], axis=0, return_index=True, return_inverse=True)

    def table(weight: Floats) -> Floats:
        place = unit * count + codes[row]
        return np.bincount(place, weight, len(first) * count).reshape(len(first), count).astype(np.float64)

    return _Alike(
        row=row,
        unit=unit,
        code=codes[row],
        items=table(np.ones(len(row))),
        flagged=table((sample.force[row] > 0).astype(np.float64)),
        score=table(sample.score[row]),
        cluster=sample.cluster[row][first],
    )


def _directions(alike: _Alike, a: int, b: int) -> tuple[int, float]:
    """The clusters with both groups, and how likely so many of them flip one way rather than the other by chance."""
    both = (alike.items[:, a] > 0) & (alike.items[:, b] > 0)
    more = alike.items[both, a] * alike.flagged[both, b] - alike.flagged[both, a] * alike.items[both, b]
    clusters, place = np.unique(alike.cluster[both], return_inverse=True)
    direction = np.sign(np.bincount(place, more))
    up, down = int((direction > 0).sum()), int((direction < 0).sum())
    return len(clusters), float(binomtest(up, up + down, 0.5).pvalue) if up + down else 1.0


def _flip_rate(alike: _Alike) -> tuple[float, float, float]:
    """The share of pairs that flip, with its interval: a cluster's pairs, flipped and not, are two weighted items."""

    def of_different_groups(one: Floats, other: Floats) -> Floats:
        return np.asarray(one.sum(axis=1) * other.sum(axis=1) - (one * other).sum(axis=1))

    flips = of_different_groups(alike.flagged, alike.items - alike.flagged)
    pairs = of_different_groups(alike.items, alike.items) / 2.0
    weight, event = np.concatenate([flips, pairs - flips]), np.repeat([1.0, 0.0], len(flips))
    some = weight > 0
    cluster, one = np.tile(alike.cluster, 2)[some], np.zeros(int(some.sum()), np.int64)
    cells = cells_of(one, event[some], cluster, groups=1, weight=weight[some])
    low, high = cells.interval()
    return float(cells.rate[0]), float(low[0]), float(high[0])


def _moves(sample: Sample, alike: _Alike, order: Sequence[str]) -> tuple[Move, ...]:
    """Pairs by the actions of their two items."""
    levels, force = np.unique(sample.force[alike.row], return_inverse=True)
    shape, one = (max(len(alike.items), 1), max(len(levels), 1)), np.ones(len(force))
    of_unit = coo_array((one, (alike.unit, force)), shape=shape).tocsr()
    width = alike.items.shape[1]
    codes = coo_array((one, (alike.unit * width + alike.code, force)), shape=(shape[0] * max(width, 1), shape[1]))
    of_code = codes.tocsr()
    # Pairs of one group are none that differ; what is left counts each pair from both its ends.
    met = (of_unit.T @ of_unit - of_code.T @ of_code).toarray()
    return tuple(
        Move(order[levels[a]], order[levels[b]], int(met[a, b] / (2 if a == b else 1)))
        for a in range(len(levels))
        for b in range(a, len(levels))
    )


def _worst(sample: Sample, alike: _Alike) -> tuple[tuple[str, str, float], ...]:
    """The farthest pair of each set, the farthest first; a difference is that of the later group's score less the earlier's."""
    if not len(alike.items):
        return ()
    rising = np.argsort(sample.score[alike.row], kind="stable")
    highest, lowest = (_last_of_each(alike, rows) for rows in (rising, rising[::-1]))
    top = np.where(highest >= 0, sample.score[highest], -np.inf)
    bottom = np.where(lowest >= 0, sample.score[lowest], np.inf)
    units = np.arange(len(top))
    up, down = top.argmax(axis=1), bottom.argmin(axis=1)
    # The farthest two of different groups are the highest and the lowest of another group, or the lowest and the highest of another.
    other_up, other_down = top.copy(), bottom.copy()
    other_up[units, down], other_down[units, up] = -np.inf, np.inf
    sides = [(other_up.argmax(axis=1), down), (up, other_down.argmin(axis=1))]
    gaps = np.stack([top[units, high] - bottom[units, low] for high, low in sides])
    found = []
    for unit in np.argsort(-gaps.max(axis=0), kind="stable")[:WORST]:
        high, low = (int(side[unit]) for side in sides[int(gaps[1, unit] > gaps[0, unit])])
        first, second = sorted([(high, int(highest[unit, high])), (low, int(lowest[unit, low]))])
        difference = float(sample.score[second[1]] - sample.score[first[1]])
        found.append((sample.ids[first[1]], sample.ids[second[1]], difference))
    return tuple(found)


def _last_of_each(alike: _Alike, rows: Codes) -> Codes:
    """The last of these rows in each set and group, as a row of the sample, [u, k]; -1 where there is none."""
    last = np.full(alike.items.shape, -1, np.int64)
    last[alike.unit[rows], alike.code[rows]] = alike.row[rows]
    return last

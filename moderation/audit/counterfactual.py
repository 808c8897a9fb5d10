"""Counterfactual pairs: items of one cluster that differ in one attribute and in no other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import binomtest

from moderation.audit.gaps import adjust
from moderation.audit.sample import Flags, Sample

WORST = 10


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
class Counterfactuals:
    """All swaps of one attribute; `worst` are the pairs whose scores lie farthest apart, as ids."""

    attribute: str
    pairs: int
    flips: int
    swaps: tuple[Swap, ...]
    worst: tuple[tuple[str, str, float], ...]

    @property
    def flip_rate(self) -> float | None:
        """Share of pairs that are treated differently."""
        return self.flips / self.pairs if self.pairs else None


def compare_counterfactuals(
    sample: Sample, attribute: str, *, others: Sequence[str], flagged: Flags
) -> Counterfactuals:
    """Every pair of items of one cluster with the same target and the same `others`, and another value of `attribute`.

    `flagged` says which items something is done to.
    """
    found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    codes = sample.groups[attribute].codes
    for rows in _alike(sample, attribute, others):
        for one, other in combinations(rows, 2):
            if codes[one] != codes[other]:
                a, b = sorted((one, other), key=lambda row: codes[row])
                found[int(codes[a]), int(codes[b])].append((a, b))
    names = sample.groups[attribute].names
    swaps = [_swap(sample, names[a], names[b], pairs, flagged) for (a, b), pairs in sorted(found.items())]
    corrected = adjust([swap.p for swap in swaps], "holm")
    every = [pair for pairs in found.values() for pair in pairs]
    apart = sorted(every, key=lambda pair: -abs(sample.score[pair[0]] - sample.score[pair[1]]))[:WORST]
    return Counterfactuals(
        attribute,
        len(every),
        sum(bool(flagged[a] != flagged[b]) for a, b in every),
        tuple(
            Swap(one.a, one.b, one.pairs, one.clusters, one.only_a, one.only_b, one.score_change, p)
            for one, p in zip(swaps, corrected, strict=True)
        ),
        tuple((sample.ids[a], sample.ids[b], float(sample.score[b] - sample.score[a])) for a, b in apart),
    )


def _alike(sample: Sample, attribute: str, others: Sequence[str]) -> list[list[int]]:
    """Rows that are the same but for the attribute: of one cluster, one target, and equal in every other attribute."""
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    known = sample.groups[attribute].codes >= 0
    held = [sample.groups[name].codes for name in others]
    for row in np.nonzero(known)[0]:
        key = int(sample.cluster[row]), int(sample.target[row]), *(int(codes[row]) for codes in held)
        alike[key].append(int(row))
    return [rows for rows in alike.values() if len(rows) > 1]


def _swap(sample: Sample, a: str, b: str, pairs: Sequence[tuple[int, int]], flagged: Flags) -> Swap:
    first, second = np.array(pairs, np.int64).T
    change = flagged[second].astype(np.int64) - flagged[first].astype(np.int64)
    _, unit = np.unique(sample.cluster[first], return_inverse=True)
    direction = np.sign(np.bincount(unit, change))
    up, down = int((direction > 0).sum()), int((direction < 0).sum())
    p = float(binomtest(up, up + down, 0.5).pvalue) if up + down else 1.0
    mean = float((sample.score[second] - sample.score[first]).mean())
    return Swap(a, b, len(pairs), len(direction), int((change < 0).sum()), int((change > 0).sum()), mean, p)

"""L2: the text's margin, and how near a vector lies to known examples; nothing is trained (after Tip-Adapter, arXiv 2111.03930)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.probe import Targets
from moderation.detector.head import Head
from moderation.detector.remembered import Remembered

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Affinity:
    """How far exemplars count: `weight`, in spreads of the text's margin, and `sharpness` of exp(sharpness · (cosine - 1))."""

    weight: float
    sharpness: float


# Where no fit targets can choose: a nudge. On our own two policies' fit targets (benchmarks/ladder.py; it was chosen there, so the
# figures flatter it) average precision rose in the mean with four exemplars or more; at a weight of 1 and sharpness 10 it fell with up to eight.
DEFAULT = Affinity(0.25, 5.0)
# Nearest to the text first.
AFFINITIES = tuple(Affinity(*one) for one in product((0.25, 0.5, 1.0, 2.0), (5.0, 10.0, 20.0)))
_LEAST_SPREAD = 1e-6


def remembering_head(base: Head, exemplars: Targets, affinity: Affinity) -> Head:
    """The L2 head that extends `base` (L0 or L1) by exemplars; either class may be missing.

    A cluster votes once in its class, and the two classes' votes weigh the same. Votes are scaled so that, over the exemplars,
    each seen by the other clusters only, they spread as wide as the text's margin where `weight` is 1.
    """
    votes = exemplars.weights * np.where(exemplars.violating, 1.0, -1.0)
    seen = _seen_by_others(exemplars, votes, affinity.sharpness)
    spread, wide = (_spread(one, exemplars) for one in (seen, base.raw(exemplars.vectors)))
    wide = wide or base.scale
    times = affinity.weight * wide / spread if spread > _LEAST_SPREAD else affinity.weight * base.scale
    remembered = Remembered(_unit(exemplars), times * votes, np.array([affinity.sharpness]))
    # The cut at 0.5 stays where content that is as near to one class as to the other had it.
    middle = (
        base.centre + times * float(seen @ exemplars.weights)
        if len(np.unique(exemplars.violating)) == 1
        else base.centre
    )
    return replace(base, level="L2", remembered=remembered, centre=middle, scale=base.scale * (1.0 + affinity.weight))


def remembering_heads(base: Head, exemplars: Targets) -> Mapping[Affinity, Head]:
    """One head for each of AFFINITIES."""
    return {one: remembering_head(base, exemplars, one) for one in AFFINITIES}


def _seen_by_others(exemplars: Targets, votes: Floats, sharpness: float) -> Floats:
    """What the exemplars of other clusters say of each, float64 [e]; its own cluster is left out of its class's mean."""
    vectors = exemplars.vectors.astype(np.float64)
    near = np.exp(sharpness * (vectors @ vectors.T - 1.0))
    other = exemplars.clusters[:, None] != exemplars.clusters
    seen = np.zeros(len(votes))
    for side in (True, False):
        mine = votes * (exemplars.violating == side)
        left = other @ np.abs(mine)
        total = (near * other) @ mine
        seen += np.divide(total, left, out=np.zeros_like(total), where=left > 0)
    return seen


def _spread(values: Floats, exemplars: Targets) -> float:
    """The standard deviation, a cluster of a class counting once."""
    each = exemplars.weights / exemplars.weights.sum()
    return float(np.sqrt(each @ (values - each @ values) ** 2))


def _unit(exemplars: Targets) -> NDArray[np.float32]:
    vectors = exemplars.vectors.astype(np.float64)
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit

"""Threshold-free metrics of groups: subgroup, BPSN and BNSP AUC (Borkan et al. 2019), with intervals that know clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from moderation.audit.cells import DISPLAYED
from moderation.audit.sample import Codes, Flags, Floats, Groups, Sample, distinct
from moderation.compiler.intervals import wilson


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well scores rank violating above benign, in [0, 1], with a 95 % interval; None, and why, where it is not defined."""

    group: str
    metric: str
    positives: int
    negatives: int
    auc: float | None
    low: float | None
    high: float | None
    undefined: str = ""


def rank_groups(sample: Sample, groups: Groups) -> tuple[Ranking, ...]:
    """Three AUCs for each group, over the items whose group is known.

    `subgroup`: its violating items against its benign ones. `bpsn` (background positive, subgroup negative): the violating items of
    everybody else against its benign ones; low where its harmless items score high, which is wrongful removal. `bnsp`: the benign
    items of everybody else against its violating ones; low where it is protected less.
    """
    found = []
    known = groups.codes >= 0
    for place, name in enumerate(groups.names):
        own, others = groups.codes == place, known & (groups.codes != place)
        sides = {
            "subgroup": (own & sample.target, own & ~sample.target),
            "bpsn": (others & sample.target, own & ~sample.target),
            "bnsp": (own & sample.target, others & ~sample.target),
        }
        for metric, (positive, negative) in sides.items():
            found.append(_ranking(name, metric, sample, positive, negative))
    return tuple(found)


def cluster_auc(positive: Floats, negative: Floats, unit_positive: Codes, unit_negative: Codes) -> tuple[float, float]:
    """The AUC and its variance where scores of one cluster depend on each other (Obuchowski 1997).

    Ties count half. The variance sums the structural components of DeLong et al. (1988) over clusters; NaN with one cluster.
    """
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - rankdata(positive)) / n  # share of negatives below each positive
    below = 1.0 - (ranks[m:] - rankdata(negative)) / m  # share of positives above each negative
    auc = float(above.mean())
    units = np.concatenate([unit_positive, unit_negative])
    count = distinct(units)
    if count < 2:
        return auc, float("nan")
    total = np.bincount(units, np.concatenate([(above - auc) / m, (below - auc) / n]))
    return auc, float(count / (count - 1) * (total**2).sum())


def _ranking(group: str, metric: str, sample: Sample, positive: Flags, negative: Flags) -> Ranking:
    m, n = int(positive.sum()), int(negative.sum())
    if not m or not n:
        missing = "violating" if not m else "benign"
        return Ranking(group, metric, m, n, None, None, None, f"0 {missing} items")
    units = sample.cluster[positive], sample.cluster[negative]
    auc, variance = cluster_auc(sample.score[positive], sample.score[negative], *units)
    low, high = _interval(auc, variance, min(map(distinct, units)))
    return Ranking(group, metric, m, n, auc, low, high)


def _interval(auc: float, variance: float, units: int) -> tuple[float, float]:
    """On the logit scale; at 0 or 1, where no variance is seen, Wilson's over the clusters of the smaller side."""
    if not 0.0 < auc < 1.0 or not variance > 0.0:
        low, high = wilson(np.array([auc * units]), np.array([float(units)]), DISPLAYED)
        return float(low[0]), float(high[0])
    centre = np.log(auc / (1.0 - auc))
    reach = float(norm.isf((1.0 - DISPLAYED) / 2.0)) * np.sqrt(variance) / (auc * (1.0 - auc))
    return tuple(float(1.0 / (1.0 + np.exp(-(centre + side)))) for side in (-reach, reach))  # type: ignore[return-value]

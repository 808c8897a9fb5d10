"""What one threshold hides: the gap at every threshold, and how well the score means the same for every group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from moderation.audit.cells import DISPLAYED, LEAST_CLUSTERS
from moderation.audit.sample import Flags, Floats, Groups, Sample, distinct

POINTS = 41


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """At one threshold: the rate of each group (None where nothing is eligible), and the largest difference of compared groups."""

    threshold: float
    rates: tuple[float | None, ...]
    gap: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """One group under one map from score to probability, fitted on all: share violating less what the map says, with a 95 % interval.

    Positive: the score understates this group's risk, so it is protected less; negative: it is taken for riskier than it is.
    """

    group: str
    items: int
    clusters: int
    difference: float | None
    low: float | None
    high: float | None


def gap_curve(sample: Sample, groups: Groups, *, eligible: Flags, missed: bool) -> tuple[CurvePoint, ...]:
    """The rate of each group, and the largest gap, at the quantiles of the eligible scores, strict to lenient.

    `missed` counts items below the threshold (false negatives), else those at or above it. Groups of under LEAST_CLUSTERS clusters
    are shown and not compared.
    """
    rows = eligible & (groups.codes >= 0)
    if not rows.any():
        return ()
    levels = np.unique(np.round(np.quantile(sample.score[rows], np.linspace(0.0, 1.0, POINTS)), 6))[::-1]
    shares, compared = [], []
    for place in range(len(groups.names)):
        own = rows & (groups.codes == place)
        scores = np.sort(sample.score[own])
        below = np.searchsorted(scores, levels, side="left")
        hits = below if missed else len(scores) - below
        shares.append(hits / len(scores) if len(scores) else np.full(len(levels), np.nan))
        compared.append(distinct(sample.cluster[own]) >= LEAST_CLUSTERS)
    table = np.array(shares).T
    among = table[:, compared]
    gaps = among.max(axis=1) - among.min(axis=1) if sum(compared) > 1 else np.zeros(len(levels))
    return tuple(
        CurvePoint(float(level), tuple(None if np.isnan(one) else float(one) for one in row), float(gap))
        for level, row, gap in zip(levels, table, gaps, strict=True)
    )


def reliability(sample: Sample, groups: Groups) -> tuple[Reliability, ...]:
    """How far each group's share of violating items lies from what its scores say, by one logistic map for all; () with one class.

    Intervals are cluster-robust; the map is taken as known. None for a group of fewer than two clusters.
    """
    if sample.target.all() or not sample.target.any():
        return ()
    clipped = np.clip(sample.score, 1e-6, 1.0 - 1e-6)
    odds = np.log(clipped / (1.0 - clipped))[:, None]
    said = LogisticRegression(C=1e6).fit(odds, sample.target).predict_proba(odds)[:, 1]
    return tuple(_residual(sample, sample.target - said, groups, place) for place in range(len(groups.names)))


def _residual(sample: Sample, residual: Floats, groups: Groups, place: int) -> Reliability:
    own = groups.codes == place
    count = int(own.sum())
    units = distinct(sample.cluster[own])
    name = groups.names[place]
    if units < 2:
        return Reliability(name, count, units, None, None, None)
    mean = float(residual[own].mean())
    sums = np.bincount(sample.cluster[own], residual[own] - mean)
    error = float(np.sqrt(units / (units - 1) * (sums**2).sum())) / count
    reach = float(norm.isf((1.0 - DISPLAYED) / 2.0)) * error
    return Reliability(name, count, units, mean, mean - reach, mean + reach)

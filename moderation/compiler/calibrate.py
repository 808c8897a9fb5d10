"""Fit a calibration on certify targets, one per cluster, at the middle of the stated prevalence; and measure it by cross-fitting.

A probability means something at one prevalence only, so classes are weighed until the violating ones have that share. Which
method depends on how many clusters the smaller class has, fixed in advance so that nothing is chosen by looking:

    below 50    none: what could be told would be mostly chance
    below 200   sigmoid (Platt 1999): two numbers
    below 1000  beta (Kull, Silva Filho and Flach 2017): three, for scores that bend differently at both ends
    from 1000   isotonic (Zadrozny and Elkan 2002), drawn through the middles of its blocks, so that it rises between them

A temperature is never chosen: with one number it takes a score of 0.5 for even odds, which no head promises. Simulated with 50
clusters a class and scores that are even at 0.05 or 0.73, it told probabilities 0.04 and 0.07 off, the sigmoid 0.008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from moderation.compiler.bounds import Floats
from moderation.compiler.certify import Interval, Sides
from moderation.errors import counted
from moderation.policy.calibration import Calibration, Method, log_score

LEAST = 50
_BELOW: Sequence[tuple[int, Method]] = ((200, "sigmoid"), (1000, "beta"))
FOLDS = 5
BINS = 10
_STEEPEST = 100.0


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far cross-fitted probabilities can be believed, at the prevalence they were made for.

    `log_loss` in nats, beside that of telling everybody the prevalence; `expected_error` is the mean distance between told and
    found in bins of equal mass, `gap` told minus found over all, `gap_at_top` over the highest bin that holds a violating one.
    """

    log_loss: float
    log_loss_of_prevalence: float
    expected_error: float
    gap: float
    gap_at_top: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and what it rests on; `calibration` is None, with the reason, where there are too few targets."""

    calibration: Calibration | None
    reason: str
    prevalence: float
    violating: int
    benign: int
    reliability: Reliability | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """Scores [n] ascending by class, targets [n] as 0 and 1, and weights [n] that sum to 1, violating ones to the prevalence."""

    scores: Floats
    targets: Floats
    weights: Floats
    prevalence: float

    def take(self, rows: NDArray[Any]) -> _Weighed:
        return _weighed(self.scores[rows], self.targets[rows], self.prevalence)


def method_for(clusters: int) -> Method | None:
    """The method for so many clusters of the smaller class; None where there are too few for any."""
    if clusters < LEAST:
        return None
    return next((method for bound, method in _BELOW if clusters < bound), "isotonic")


def calibrate(sides: Sides, prevalence: Interval, *, method: Method | None = None) -> Calibrated:
    """A calibration of these scores at the middle of the interval, by `method` or the one for so many clusters."""
    violating, benign = len(sides.violating), len(sides.benign)
    middle, fewest = (prevalence.low + prevalence.high) / 2.0, min(violating, benign)
    chosen = method or method_for(fewest)
    if chosen is None:
        reason = f"{counted(fewest, 'cluster')} of the smaller class; a probability needs at least {LEAST}"
        return Calibrated(None, reason, middle, violating, benign)
    if middle >= 1.0:
        return Calibrated(None, "everything violates at this prevalence", middle, violating, benign)
    labels = np.concatenate([np.ones(violating), np.zeros(benign)])
    data = _weighed(np.concatenate([sides.violating, sides.benign]), labels, middle)
    reason = f"{chosen}, for {counted(fewest, 'cluster')} of the smaller class"
    return Calibrated(_fit(data, chosen), reason, middle, violating, benign, _reliability(data, chosen))


def _fit(data: _Weighed, method: Method) -> Calibration:
    """The calibration that a method makes of weighed targets."""
    if method == "isotonic":
        return Calibration(method, knots=_knots(data))
    low, high = np.array([log_score(score) for score in data.scores.tolist()]).T
    known = math.log(data.prevalence / (1.0 - data.prevalence))
    if method == "temperature":
        (slope,) = _logistic((low + high)[:, None], data, offset=known, free=0)
        return Calibration(method, (slope, slope, known))
    columns = (low + high,) if method == "sigmoid" else (low, high)
    *slopes, intercept = _logistic(np.stack([*columns, np.ones(len(low))], axis=1), data, offset=known, free=1)
    return Calibration(method, (slopes[0], slopes[-1], intercept + known))


def _weighed(scores: Floats, targets: Floats, prevalence: float) -> _Weighed:
    counts = targets.sum(), len(targets) - targets.sum()
    weights = np.where(targets > 0, prevalence / max(counts[0], 1.0), (1.0 - prevalence) / max(counts[1], 1.0))
    return _Weighed(scores, targets, weights, prevalence)


def _soft(data: _Weighed) -> Floats:
    """Targets of which one in n + 2 of the smaller class is taken to be wrong, as Platt does, so that no slope is infinite.

    The benign ones take over what the violating ones lose: the share of violating ones stays the prevalence.
    """
    fewest = min(data.targets.sum(), len(data.targets) - data.targets.sum())
    wrong = 1.0 / (fewest + 2.0)
    moved = min(1.0, wrong * data.prevalence / (1.0 - data.prevalence))
    softened: Floats = np.where(data.targets > 0, 1.0 - wrong, moved)
    return softened


def _logistic(features: Floats, data: _Weighed, *, offset: float, free: int) -> list[float]:
    """Weighted logistic regression; all coefficients but the last `free` ones are held between 0 and _STEEPEST."""
    soft, held = _soft(data), features.shape[1] - free

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        odds = features @ coefficients + offset
        residual = 1.0 / (1.0 + np.exp(-np.clip(odds, -500.0, 500.0))) - soft
        value = np.logaddexp(0.0, odds) - soft * odds
        return float(data.weights @ value), features.T @ (data.weights * residual)

    bounds = [(0.0, _STEEPEST)] * held + [(None, None)] * free
    start = np.array([1.0] * held + [0.0] * free)
    options = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return [float(one) for one in found.x]


def _knots(data: _Weighed) -> tuple[tuple[float, float], ...]:
    """The middle of every block of equal values that isotonic regression makes; a block's middle is its mean score."""
    order = np.argsort(data.scores, kind="stable")
    scores, weights = data.scores[order], data.weights[order]
    rising = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(scores, _soft(data)[order], sample_weight=weights)
    starts = np.concatenate([[0], np.nonzero(np.diff(rising) > 0)[0] + 1])
    mass = np.add.reduceat(weights, starts)
    middles = np.add.reduceat(weights * scores, starts) / mass
    return tuple((min(float(x), 1.0), float(y)) for x, y in zip(middles, rising[starts], strict=True))


def _reliability(data: _Weighed, method: Method) -> Reliability:
    """Each target is told by a calibration fitted without its cluster: one target stands for each, so folds are of targets."""
    rng = np.random.default_rng(0)
    folds = np.empty(len(data.scores), int)
    for side in (0.0, 1.0):
        rows = np.nonzero(data.targets == side)[0]
        folds[rng.permutation(rows)] = np.arange(len(rows)) % FOLDS
    told = np.empty(len(data.scores))
    for fold in range(FOLDS):
        fitted = _fit(data.take(np.nonzero(folds != fold)[0]), method)
        rows = np.nonzero(folds == fold)[0]
        told[rows] = [fitted.probability(score) for score in data.scores[rows].tolist()]
    return reliability(told, data.targets, data.weights)


def reliability(told: Floats, targets: Floats, weights: Floats) -> Reliability:
    """How probabilities [n] compare with targets [n] of 0 and 1 under weights [n] that sum to 1."""
    told = np.clip(told, 1e-12, 1.0 - 1e-12)
    share = float(weights @ targets)
    _, level = np.unique(told, return_inverse=True)  # equal probabilities stay in one bin, whichever targets they have
    held = np.bincount(level, weights)
    bins = np.minimum((np.cumsum(held) - held / 2.0) * BINS, BINS - 1).astype(int)[level]
    gaps, mass = np.bincount(bins, weights * (told - targets), BINS), np.bincount(bins, weights, BINS)
    top = int(bins[targets > 0].max()) if targets.any() else int(bins.max())
    return Reliability(
        log_loss=-float(weights @ (targets * np.log(told) + (1.0 - targets) * np.log1p(-told))),
        log_loss_of_prevalence=-(share * math.log(share) + (1.0 - share) * math.log1p(-share))
        if 0 < share < 1
        else 0.0,
        expected_error=float(np.abs(gaps).sum()),
        gap=float(gaps.sum()),
        gap_at_top=float(gaps[top] / mass[top]),
    )

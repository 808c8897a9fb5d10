"""Which level a policy is built at: average precision, cross-validated by cluster, against what needs no targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from moderation.compiler.exemplars import DEFAULT, Affinity, remembering_head, remembering_heads
from moderation.compiler.probe import PULLS, Targets, fit_probe, fit_probes
from moderation.detector.head import Head
from moderation.policy.lock import Level

Floats = NDArray[np.float64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
Option = TypeVar("Option")

FOLDS = 5
# The folds are dealt anew this many times, so that a close choice hangs a little less on one deal. It is no safeguard: on pure
# noise (34 and 76 clusters) L3 was still chosen in about 26 % of data sets, with one deal in 29 %. A choice of level promises
# nothing; `certify` does, on other objects.
DEALS = 4
# Clusters of each class below which no probe is fitted and no level is compared.
MIN_CLUSTERS = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """A level's average precision: mean over the folds of all deals, its standard error, and each fold's.

    The error is that of one deal's folds: dealing the same clusters anew makes it better known, not smaller.
    """

    mean: float
    error: float
    folds: tuple[float, ...]

    def beats(self, other: Measured) -> bool:
        """Whether it is better by more than one standard error of the difference, fold by fold."""
        differences = np.subtract(self.folds, other.folds)
        return bool(differences.mean() > _error(differences))


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The head that was chosen, the one of the text alone that a probe extends, what each level measured, the pull of the probe
    and how far exemplars count (None: not at this level), and why.
    """

    head: Head
    base: Head
    measured: Mapping[Level, Measured]
    pull: float | None
    reason: str
    affinity: Affinity | None = None


def choose_level(heads: Sequence[Head], fit: Targets | None, *, seed: int, exemplars: Targets | None = None) -> Choice:
    """The lowest level that no higher one beats by a standard error; `heads` are L0 and, with a bank, L1.

    Without targets the last of them is taken, so that targets too few to tell the levels apart change nothing; exemplars, where
    the policy names some, then count as DEFAULT says (L2).
    """
    short = too_few(fit)
    if fit is None or short:
        return _without_targets(heads[-1], exemplars, short)
    folds = split(fit, seed=seed)
    measured = {head.level: measure(lambda _, head=head: head, fit, folds) for head in heads}  # type: ignore[misc]
    best = heads[-1]
    for head in heads[:-1]:
        best = head if measured[head.level].beats(measured[best.level]) else best
    text, affinity, pull = best.level, None, None
    if exemplars is not None:
        remembering = remembering_heads(heads[-1], exemplars)
        by_affinity = {one: measure(lambda _, head=head: head, fit, folds) for one, head in remembering.items()}  # type: ignore[misc]
        measured["L2"] = honest(by_affinity)
        if measured["L2"].beats(measured[best.level]):
            affinity = plainest(by_affinity)
            best = remembering[affinity]
    by_pull = _measure_pulls(heads[-1], fit, folds)
    measured["L3"] = honest(by_pull)
    reason = f"no other level beats {best.level} by one standard error"
    if measured["L3"].beats(measured[best.level]):
        reason, affinity = f"L3 beats {best.level} by more than one standard error", None
        pull = plainest(by_pull)
        best = fit_probe(heads[-1], fit, pull)
    elif affinity is not None:
        reason = f"L2 beats {text} by more than one standard error, and L3 does not beat L2"
    return Choice(best, heads[-1], measured, pull, reason, affinity)


def _without_targets(text: Head, exemplars: Targets | None, short: str) -> Choice:
    if exemplars is None:
        return Choice(text, text, {}, None, f"{short}; {text.level} needs none")
    head = remembering_head(text, exemplars, DEFAULT)
    return Choice(head, text, {}, None, f"{short}; exemplars count a little (L2), unmeasured", DEFAULT)


def too_few(fit: Targets | None) -> str:
    """Why there are too few targets to fit on or compare with; empty where there are enough."""
    if fit is None or not len(fit):
        return "there are no fit targets"
    for name, side in (("violating", True), ("benign", False)):
        clusters = len(np.unique(fit.clusters[fit.violating == side]))
        if clusters < MIN_CLUSTERS:
            return f"{clusters} {name} clusters are too few to fit on (at least {MIN_CLUSTERS})"
    return ""


def split(fit: Targets, *, seed: int) -> list[Fold]:
    """Rows to fit on and rows to measure on: DEALS deals of the clusters into FOLDS folds, no cluster in both parts of one.

    The clusters lie in a row, shuffled but for this: first those that only violate, then those with targets of both classes,
    then those that are only benign. Each class's clusters then stand side by side, so that dealt round they reach every
    fold. scikit-learn's StratifiedGroupKFold deals otherwise from one version to the next, and may leave a fold one class.
    """
    clusters, inverse = np.unique(fit.clusters, return_inverse=True)
    sides = [np.bincount(inverse, weights=fit.violating == side) > 0 for side in (True, False)]
    order = sides[1].astype(np.int64) - sides[0]
    folds = np.empty(len(clusters), np.int64)
    found: list[Fold] = []
    for deal in range(DEALS):
        shuffled = np.random.default_rng([seed, deal]).permutation(len(clusters))
        folds[shuffled[np.argsort(order[shuffled], kind="stable")]] = np.arange(len(clusters)) % FOLDS
        held_out = [folds[inverse] == fold for fold in range(FOLDS)]
        found += [(np.flatnonzero(~rows), np.flatnonzero(rows)) for rows in held_out]
    return found


def measure(make: Callable[[Targets], Head], fit: Targets, folds: Sequence[Fold]) -> Measured:
    """Average precision of what `make` builds from each fold's other targets; a cluster counts once."""
    precisions = []
    for train, test in folds:
        held_out = fit.take(test)
        precisions.append(average_precision(make(fit.take(train)).raw(held_out.vectors), held_out))
    return _summary(precisions)


def _measure_pulls(base: Head, fit: Targets, folds: Sequence[Fold]) -> dict[float, Measured]:
    found: dict[float, list[float]] = {pull: [] for pull in PULLS}
    for train, test in folds:
        held_out = fit.take(test)
        for pull, head in zip(PULLS, fit_probes(base, fit.take(train), PULLS), strict=True):
            found[pull].append(average_precision(head.raw(held_out.vectors), held_out))
    return {pull: _summary(precisions) for pull, precisions in found.items()}


def _summary(precisions: Sequence[float] | Floats) -> Measured:
    return Measured(float(np.mean(precisions)), _error(precisions), tuple(map(float, precisions)))


def _error(of_folds: Sequence[float] | Floats) -> float:
    return float(np.std(of_folds, ddof=1) / np.sqrt(FOLDS))


def average_precision(scores: Floats, on: Targets) -> float:
    """Average precision with each class's clusters weighing the same, at the share of violating clusters."""
    return float(average_precision_score(on.violating, scores, sample_weight=on.by_cluster))


def plainest(measured: Mapping[Option, Measured]) -> Option:
    """The first option, as they stand from nearest to the text on, that is within a standard error of the best."""
    best = max(measured.values(), key=lambda one: one.mean)
    return next(option for option, one in measured.items() if one is best or not best.beats(one))


def honest(measured: Mapping[Option, Measured]) -> Measured:
    """What a level measures when each fold's option is chosen on its deal's other folds: a choice never sees what judges it."""
    table = np.array([one.folds for one in measured.values()]).reshape(len(measured), -1, FOLDS)
    others = table.sum(axis=2, keepdims=True) - table
    chosen = np.take_along_axis(table, others.argmax(axis=0, keepdims=True), axis=0)
    return _summary(chosen.ravel())

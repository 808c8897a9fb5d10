"""Which level a policy is built at: average precision, cross-validated by cluster, against what needs no targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.bottleneck import PENALTIES, fit_bottlenecks, speaks
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
# And those below which no bottleneck is. In 30 draws of our own fit targets with 8 clusters of each class it lost to the words alone in
# 6 (insults) and 22 (weapons), with 15 in 4 and 21, with 30 in none (insults; weapons has too few).
EXPLAINED_CLUSTERS = 30
SILENT = "no violating phrase lies nearer to the violating fit targets than to the benign ones, so that none could explain a decision"


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
        difference, error = self.over(other)
        return difference > error

    def over(self, other: Measured) -> tuple[float, float]:
        """How much better it is in the mean, and the standard error of that."""
        differences = np.subtract(self.folds, other.folds)
        return float(differences.mean()), _error(differences)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The head that was chosen, the one of the text alone that it extends, what each level measured, and why it was chosen.

    `pull` is that of the probe, `affinity` how far exemplars count, `penalty` that of the bottleneck: None at other levels. `missing`
    says why a level was not measured; `instead_of` is the level that the rule would have taken where another was asked for.
    """

    head: Head
    base: Head
    measured: Mapping[Level, Measured]
    reason: str
    missing: Mapping[Level, str]
    pull: float | None = None
    affinity: Affinity | None = None
    penalty: float | None = None
    instead_of: Level | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rung:
    """One level: what it measured, how its head is made of all targets, and with which option of a Choice."""

    level: Level
    measured: Measured
    make: Callable[[], Head]
    option: Mapping[str, Any] = field(default_factory=dict)


def choose_level(
    heads: Sequence[Head],
    fit: Targets | None,
    *,
    seed: int,
    exemplars: Targets | None = None,
    explainable: bool = False,
) -> Choice:
    """The level reached by climbing from the words alone, each step to one that beats the best so far by a standard error.

    `heads` are L0 and, with a bank, L1. The last of them is where the climb starts: with a bank L0 is one of those that have to beat it.
    Without targets the last is taken, so that targets too few to tell the levels apart change nothing; exemplars, where
    the policy names some, then count as DEFAULT says (L2). L5 is measured where there are clusters enough, and taken by the same rule;
    where decisions must be `explainable` it is taken wherever it was measured.
    """
    text = heads[-1]
    missing: dict[Level, str] = {"L5": lacking} if (lacking := _lacking(fit)) else {}
    short = too_few(fit)
    if fit is None or short:
        return _without_targets(text, exemplars, short, missing)
    folds = split(fit, seed=seed)
    rungs = [_plain(head, fit, folds) for head in (text, *heads[:-1])]
    if exemplars is not None:
        rungs.append(_remembering(text, exemplars, fit, folds))
    rungs.append(_probing(text, fit, folds))
    if not missing:
        explained = explaining(text, fit, folds)
        rungs, missing = ([*rungs, explained], {}) if explained else (rungs, {"L5": SILENT})
    place = _climb(rungs)
    taken, reason, instead_of = rungs[place], _reason(rungs, place), None
    if explainable and not missing and taken.level != "L5":
        instead_of, taken = taken.level, rungs[-1]
        reason = f"L5 is asked for (explainable); {reason}"
    measured = {rung.level: rung.measured for rung in sorted(rungs, key=lambda rung: rung.level)}
    return Choice(taken.make(), text, measured, reason, missing, instead_of=instead_of, **taken.option)


def _climb(rungs: Sequence[Rung]) -> int:
    """The place of the rung that is taken: from the first on, each one that beats the best so far by a standard error."""
    best = 0
    for place, rung in enumerate(rungs):
        best = place if rung.measured.beats(rungs[best].measured) else best
    return best


def _reason(rungs: Sequence[Rung], place: int) -> str:
    taken, below = rungs[place].level, _climb(rungs[:place]) if place else 0
    after = [rung.level for rung in rungs[place + 1 :] if rung.level > taken]
    if taken in {"L0", "L1"}:
        return f"no other level beats {taken} by one standard error"
    beaten = f"{taken} beats {rungs[below].level} by more than one standard error"
    return (
        f"{beaten}, and {' and '.join(after)} {'do' if len(after) > 1 else 'does'} not beat {taken}"
        if after
        else beaten
    )


def _plain(head: Head, fit: Targets, folds: Sequence[Fold]) -> Rung:
    return Rung(head.level, measure(lambda _: head, fit, folds), lambda: head)


def _remembering(text: Head, exemplars: Targets, fit: Targets, folds: Sequence[Fold]) -> Rung:
    made = remembering_heads(text, exemplars)
    by_affinity = {one: measure(lambda _, head=head: head, fit, folds) for one, head in made.items()}  # type: ignore[misc]
    affinity = plainest(by_affinity)
    return Rung("L2", honest(by_affinity), lambda: made[affinity], {"affinity": affinity})


def _probing(text: Head, fit: Targets, folds: Sequence[Fold]) -> Rung:
    """L3 extends the text even where exemplars beat it.

    Letting it extend L2 there was tried on 50 half-splits each of our weapons and insults, with 4 and 8 exemplars a class: the choice's
    average precision on the held-out half moved by -0.0000 to +0.0007.
    """
    by_pull = _along(PULLS, fit_probes, text, fit, folds)
    pull = plainest(by_pull)
    return Rung("L3", honest(by_pull), lambda: fit_probe(text, fit, pull), {"pull": pull})


def explaining(text: Head, fit: Targets, folds: Sequence[Fold]) -> Rung | None:
    """L5, under the penalties that leave some violating phrase a weight; None where none does."""
    made = dict(zip(PENALTIES, fit_bottlenecks(text, fit, PENALTIES), strict=True))
    speaking = [penalty for penalty, head in made.items() if speaks(head)]
    if not speaking:
        return None
    by_penalty = _along(speaking, fit_bottlenecks, text, fit, folds)
    penalty = plainest(by_penalty)
    return Rung("L5", honest(by_penalty), lambda: made[penalty], {"penalty": penalty})


def _without_targets(text: Head, exemplars: Targets | None, short: str, missing: Mapping[Level, str]) -> Choice:
    if exemplars is None:
        return Choice(text, text, {}, f"{short}; {text.level} needs none", missing)
    head = remembering_head(text, exemplars, DEFAULT)
    return Choice(head, text, {}, f"{short}; exemplars count a little (L2), unmeasured", missing, affinity=DEFAULT)


def too_few(fit: Targets | None) -> str:
    """Why there are too few targets to fit on or compare with; empty where there are enough."""
    if fit is None or not len(fit):
        return "there are no fit targets"
    for name, side in (("violating", True), ("benign", False)):
        clusters = len(np.unique(fit.clusters[fit.violating == side]))
        if clusters < MIN_CLUSTERS:
            counted = f"1 {name} cluster is" if clusters == 1 else f"{clusters} {name} clusters are"
            return f"{counted} too few to fit on (at least {MIN_CLUSTERS})"
    return ""


def _lacking(fit: Targets | None) -> str:
    """Which clusters L5 lacks; empty where there are enough."""
    found = {"violating": 0, "benign": 0}
    if fit is not None:
        found = {name: len(np.unique(fit.clusters[fit.violating == (name == "violating")])) for name in found}
    more = [f"{EXPLAINED_CLUSTERS - count} more {name}" for name, count in found.items() if count < EXPLAINED_CLUSTERS]
    if not more:
        return ""
    counts = " and ".join(f"{count} {name}" for name, count in found.items())
    return f"{' and '.join(more)} clusters of fit targets are needed (found {counts}; expected {EXPLAINED_CLUSTERS} of each)"


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


def _along(
    path: Sequence[float],
    make: Callable[[Head, Targets, Sequence[float]], list[Head]],
    base: Head,
    fit: Targets,
    folds: Sequence[Fold],
) -> dict[float, Measured]:
    """As `measure`, for every option of a path whose heads are made together."""
    found: dict[float, list[float]] = {option: [] for option in path}
    for train, test in folds:
        held_out = fit.take(test)
        for option, head in zip(path, make(base, fit.take(train), path), strict=True):
            found[option].append(average_precision(head.raw(held_out.vectors), held_out))
    return {option: _summary(precisions) for option, precisions in found.items()}


def _summary(precisions: Sequence[float] | Floats) -> Measured:
    return Measured(float(np.mean(precisions)), _error(precisions), tuple(map(float, precisions)))


def _error(of_folds: Sequence[float] | Floats) -> float:
    return float(np.std(of_folds, ddof=1) / np.sqrt(FOLDS))


def average_precision(scores: Floats, on: Targets) -> float:
    """Average precision with each class's clusters weighing the same, at the share of violating clusters; equal scores are one step.

    As scikit-learn's, without its checks, which took most of the time of a choice.
    """
    order = np.argsort(-scores, kind="stable")
    weights = on.by_cluster[order]
    steps = np.flatnonzero(np.append(np.diff(scores[order]) != 0.0, True))
    found = np.cumsum(weights * on.violating[order])[steps]
    precision = found / np.cumsum(weights)[steps]
    return float(np.diff(found, prepend=0.0) @ precision / found[-1])


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

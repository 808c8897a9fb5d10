"""Thresholds that keep a promise: exact binomial tests along a fixed sequence, over clusters, at a stated prevalence.

Why it is exact. One target per cluster is kept, the one with the smallest digest: a choice that cannot know the score, so
each class is a sample of independent objects. All rates, and so the precision promised, are therefore of objects: one
benign look-alike that is posted forty times counts once, and the prevalence must be that of objects too. Precision: thresholds stand on a grid published in advance and
are tested from strict to lenient until the first failure, so a wrong certificate needs the first bad threshold after the
start to pass. A test passes only if precision is high enough at the lower bound of the true and the upper bound of the
false positive rate, which hold together but for alpha. The start is the lowest threshold that flags at most k benign targets,
with k computed from the numbers of targets alone; a count below k is taken as k. Let l be the first bad threshold whose
upper bound at k is too low: a false positive rate that is understated at or after the start needs at most
bound(l) benign targets above l, which is one fixed binomial event. The start looks at no violating target, so for
their rate it is fixed. Recall: the tests are nested from lenient to strict, so that the whole search is one binomial event.
A policy's guarantees share its error (Bonferroni): each of n runs at (1 - confidence) / n, so that all hold together with
the lowest confidence among them.

A budget bounds all that the cut flags, at the high end of the prevalence, though what a stronger action takes does not queue: so it
holds whatever becomes of that action, and leaves room for what it passes down (its quota spent, an item of more parts than were
certified, a score within ε of its threshold).

What holds at the stated confidence is the promise, `at_least` and the budget, and nothing else. The other bounds of a
certificate are pointwise, as if its threshold had been fixed in advance; at a threshold that was chosen by looking they may be
missed more often (13 % where 10 % is stated, simulated with tied scores), and nothing makes them hold together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np

from moderation.compiler.bounds import TPR_PART, Floats, lower, precision, share, upper
from moderation.compiler.shortfall import Shortfall, budget_shortfall, precision_shortfall, recall_shortfall
from moderation.policy.lock import LockedAction

# The sequence starts at the most lenient count of benign targets that could still be certified with this recall.
ENTRY_RECALL = 0.25
_DECIMALS = 6


class Guarantee(Protocol):
    """What is promised, as the policy file says it."""

    @property
    def metric(self) -> str: ...
    @property
    def at_least(self) -> float: ...
    @property
    def confidence(self) -> float: ...


class Promise(Protocol):
    """An action with its guarantee, and the largest share of traffic it may take."""

    @property
    def action(self) -> str: ...
    @property
    def guarantee(self) -> Guarantee: ...
    @property
    def budget(self) -> float | None: ...


class Interval(Protocol):
    """The prevalence interval in which guarantees hold."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


@dataclass(frozen=True, slots=True)
class ScoredTarget:
    """One judged item with the score the pipeline gave it: `target` is true where it violates."""

    score: float
    target: bool
    cluster: str
    digest: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was shown of one `threshold`. Counts are clusters; `items_*` are for the eye, nothing is bounded by them.

    `alpha` is this guarantee's share of the error, `guarantees` how many share it; `budget` is the largest share of traffic,
    where one is promised too. Promised are the action's `at_least` and the budget. The bounds are pointwise, what the counts
    would show of a threshold fixed in advance: `precision_low` and `precision_high` at the ends of the prevalence interval,
    `tpr_lower`, `fpr_upper`, and `share_upper` of the traffic. For precision, fewer benign clusters than the start allows
    count as so many.
    """

    metric: str
    threshold: float
    alpha: float
    guarantees: int
    violating: int
    benign: int
    flagged_violating: int
    flagged_benign: int
    tpr: float
    tpr_lower: float
    fpr: float
    fpr_upper: float
    precision_low: float
    precision_high: float
    share_upper: float
    budget: float | None
    sequence_length: int
    start: float
    items_violating: int
    items_benign: int
    items_flagged_violating: int
    items_flagged_benign: int


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Scores of one target per cluster, by class, ascending; and of all targets, for the eye."""

    violating: Floats
    benign: Floats
    all_violating: Floats
    all_benign: Floats


def certify(
    scored: Iterable[ScoredTarget], actions: Sequence[Promise], prevalence: Interval
) -> tuple[LockedAction, ...]:
    """A threshold with its Certificate, or a Shortfall, for each action, in order.

    All of a policy's certificates hold together with the confidence stated (the lowest, where they differ).
    Raises ValueError for a score outside [0, 1].
    """
    sides = one_per_cluster(scored)
    return tuple(_certify_one(sides, action, prevalence, len(actions)) for action in actions)


def one_per_cluster(scored: Iterable[ScoredTarget]) -> Sides:
    """One target per cluster, chosen by digest; two targets of one object are one piece of evidence.

    A cluster with targets of both classes counts on one side only, so that the two samples stay independent.
    """
    targets = list(scored)
    if not all(0.0 <= one.score <= 1.0 for one in targets):
        raise ValueError("certify: found a score outside [0, 1]; expected the pipeline's scores")
    chosen: dict[str, ScoredTarget] = {}
    for one in sorted(targets, key=lambda target: target.digest):
        chosen.setdefault(one.cluster, one)
    return Sides(*(_scores(group, side) for group in (chosen.values(), targets) for side in (True, False)))


def grid() -> Floats:
    """Every threshold that can certify precision, strict to lenient: even steps of 0.05 in log-odds, after one that flags nothing."""
    odds = np.arange(14.0, -14.025, -0.05)
    levels = np.unique(np.round(1.0 / (1.0 + np.exp(-odds)), _DECIMALS))[::-1]
    return np.concatenate([[np.inf, 1.0], levels[levels < 1.0]])


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One guarantee to certify; `alpha` is its share of the error, halved where a budget is a second promise.

    Without a promised budget `budget` is 1: all of the traffic.
    """

    sides: Sides
    target: float
    prevalence: Interval
    alpha: float
    budget: float


@dataclass(frozen=True, slots=True)
class _Found:
    """A threshold that passed. `least_benign`: fewer benign clusters flagged than this are taken as so many."""

    threshold: float
    start: float
    length: int
    least_benign: int


def _certify_one(sides: Sides, action: Promise, prevalence: Interval, guarantees: int) -> LockedAction:
    promise = action.guarantee
    alpha = (1.0 - promise.confidence) / guarantees / (1 if action.budget is None else 2)
    metric: Literal["precision", "recall"] = "precision" if promise.metric == "precision" else "recall"
    task = _Task(sides, promise.at_least, prevalence, alpha, 1.0 if action.budget is None else action.budget)
    found = _search_precision(task) if metric == "precision" else _search_recall(task)
    done = asdict(found if isinstance(found, Shortfall) else _certificate(task, found, metric, guarantees))
    failed = isinstance(found, Shortfall)
    return LockedAction(
        action=action.action,
        metric=metric,
        at_least=promise.at_least,
        confidence=promise.confidence,
        threshold=None if isinstance(found, Shortfall) else found.threshold,
        certificate=None if failed else done,
        shortfall=done if failed else None,
    )


def _search_precision(task: _Task) -> _Found | Shortfall:
    sides, low = task.sides, task.prevalence.low
    violating, benign = len(sides.violating), len(sides.benign)
    levels = grid()
    true, false = _flagged(sides.violating, levels), _flagged(sides.benign, levels)
    allowed = entry_count(violating, benign, task.target, low, alpha=task.alpha)
    start = int(np.nonzero(false <= allowed)[0][-1])
    counted = np.maximum(false[start:], allowed)
    tpr = lower(true[start:], violating, task.alpha * TPR_PART)
    fpr = upper(counted, benign, task.alpha * (1.0 - TPR_PART))
    keeps = precision(tpr, fpr, low) >= task.target
    within = share(1.0, upper(counted, benign, task.alpha), task.prevalence.high) <= task.budget
    passed = int(np.argmin(np.append(keeps & within, False)))
    if passed:
        length = min(passed + 1, len(keeps))
        return _Found(float(levels[start + passed - 1]), float(min(levels[start], 1.0)), length, allowed)
    if keeps[0]:
        return _over_budget(task, float(levels[start]))
    counts = violating, benign
    return precision_shortfall(levels, true, false, counts, target=task.target, prevalence=low, alpha=task.alpha)


def _search_recall(task: _Task) -> _Found | Shortfall:
    sides, count = task.sides, len(task.sides.violating)
    levels = np.unique(sides.violating)
    passed = lower(_flagged(sides.violating, levels), count, task.alpha) >= task.target
    if not passed.any():
        return recall_shortfall(count, task.target, task.alpha)
    place = int(np.nonzero(passed)[0][-1])
    fpr = upper(_flagged(sides.benign, levels[place : place + 1]), len(sides.benign), task.alpha)
    if share(1.0, fpr, task.prevalence.high)[0] > task.budget:
        return _over_budget(task, float(levels[place]), recall=task.target)
    return _Found(float(levels[place]), float(levels[0]), min(place + 2, len(levels)), 0)


def _over_budget(task: _Task, cut: float, *, recall: float | None = None) -> Shortfall:
    sides, high = task.sides, task.prevalence.high
    return budget_shortfall(sides.violating, sides.benign, task.budget, high, cut=cut, alpha=task.alpha, recall=recall)


def entry_count(violating: int, benign: int, target: float, prevalence: float, *, alpha: float) -> int:
    """How many benign clusters the first threshold tested may flag; from the numbers of targets alone.

    As many as could still be certified if a quarter of the violating clusters were flagged, and none where not even that.
    """
    counts = np.arange(max(benign, 1))
    tpr = lower(np.ceil(ENTRY_RECALL * violating), violating, alpha * TPR_PART)
    possible = np.nonzero(precision(tpr, upper(counts, benign, alpha * (1.0 - TPR_PART)), prevalence) >= target)[0]
    return int(possible[-1]) if len(possible) else 0


def _certificate(task: _Task, found: _Found, metric: str, guarantees: int) -> Certificate:
    sides, prevalence, alpha = task.sides, task.prevalence, task.alpha
    cut = np.array([found.threshold])
    true, false, all_true, all_false = (
        int(_flagged(side, cut)[0]) for side in (sides.violating, sides.benign, sides.all_violating, sides.all_benign)
    )
    counted = max(false, found.least_benign)
    violating, benign = len(sides.violating), len(sides.benign)
    parts = (alpha * TPR_PART, alpha * (1.0 - TPR_PART)) if metric == "precision" else (alpha, alpha)
    tpr, fpr = float(lower(true, violating, parts[0])), float(upper(counted, benign, parts[1]))
    return Certificate(
        metric=metric,
        threshold=found.threshold,
        alpha=alpha,
        guarantees=guarantees,
        violating=violating,
        benign=benign,
        flagged_violating=true,
        flagged_benign=false,
        tpr=true / violating,
        tpr_lower=tpr,
        fpr=false / max(benign, 1),
        fpr_upper=fpr,
        precision_low=float(precision(tpr, fpr, prevalence.low)),
        precision_high=float(precision(tpr, fpr, prevalence.high)),
        share_upper=float(share(1.0, upper(counted, benign, alpha), prevalence.high)),
        budget=task.budget if task.budget < 1.0 else None,
        sequence_length=found.length,
        start=found.start,
        items_violating=len(sides.all_violating),
        items_benign=len(sides.all_benign),
        items_flagged_violating=all_true,
        items_flagged_benign=all_false,
    )


def _scores(targets: Iterable[ScoredTarget], side: bool) -> Floats:  # noqa: FBT001
    return np.sort(np.array([one.score for one in targets if one.target is side], np.float64))


def _flagged(ascending: Floats, levels: Floats) -> Floats:
    """How many scores reach each level."""
    return (len(ascending) - np.searchsorted(ascending, levels, side="left")).astype(np.float64)

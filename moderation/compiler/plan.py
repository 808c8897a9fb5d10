"""What a policy's guarantees take, before anyone judges a target: how many, and how good the classifier has to be."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from moderation.compiler.bounds import lower, upper
from moderation.compiler.certify import ENTRY_RECALL, Interval, Promise
from moderation.compiler.shortfall import largest_fpr, targets_needed

RECALLS = (0.9, 0.6, 0.3)  # of violating objects, that the classifier may flag
WORKED = 0.5  # of the largest rate of benign objects flagged that is allowed: a classifier with room to spare
MISSED = (0, 1, 2, 5)  # violating objects below a threshold that promises recall
MOST = 10_000_000  # targets of a kind; more are nobody's plan


@dataclass(frozen=True, slots=True)
class Case:
    """What it takes if the classifier flags these shares of violating (`tpr`) and of benign (`fpr`) objects.

    `violating` and `benign` count independent targets (clusters). For recall `tpr` is that of the sample: so many are missed.
    For precision a quarter of the violating ones must score above nearly all benign ones: that is where `certify` starts.
    """

    tpr: float
    fpr: float
    violating: int
    benign: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One guarantee. `alpha` is its share of the error; no case where not even ten million targets will do.

    `largest_fpr` is the share of benign objects that may be flagged at all, by a classifier that flags every violating one:
    for precision at the low end of the prevalence, for a budget at the high end; 1 where nothing limits it.
    """

    action: str
    metric: Literal["precision", "recall"]
    at_least: float
    confidence: float
    budget: float | None
    alpha: float
    largest_fpr: float
    cases: tuple[Case, ...]


def plan(actions: Sequence[Promise], prevalence: Interval) -> tuple[Plan, ...]:
    """What each action's guarantee takes, in order, by the bounds that `certify` tests with."""
    return tuple(_plan_one(action, prevalence, len(actions)) for action in actions)


def enough(case: Case, violating: int, benign: int) -> bool:
    """Whether so many targets are as many as the case takes."""
    return violating >= case.violating and benign >= case.benign


def _plan_one(action: Promise, prevalence: Interval, guarantees: int) -> Plan:
    promise = action.guarantee
    metric: Literal["precision", "recall"] = "precision" if promise.metric == "precision" else "recall"
    alpha = (1.0 - promise.confidence) / guarantees / (1 if action.budget is None else 2)
    within = 1.0 if action.budget is None else _within(action.budget, prevalence.high)
    if metric == "precision":
        most = min(within, largest_fpr(1.0, promise.at_least, prevalence.low))
        cases = [
            _precision_case(tpr, share, promise.at_least, prevalence.low, alpha=alpha, within=within)
            for tpr in RECALLS
            for share in (0.0, WORKED)
        ]
    else:
        most = within
        cases = [_recall_case(missed, promise.at_least, alpha=alpha, within=within) for missed in MISSED]
    found = tuple(one for one in cases if one is not None)
    return Plan(
        action.action, metric, promise.at_least, promise.confidence, action.budget, alpha, max(most, 0.0), found
    )


def _precision_case(
    tpr: float, part: float, target: float, prevalence: float, *, alpha: float, within: float
) -> Case | None:
    """What it takes at `part` of the false positive rate that is allowed at this true positive rate."""
    fpr = part * min(within, largest_fpr(tpr, target, prevalence))
    # Certify goes from strict to lenient and stops where one fails, so the strict end, a few violating and no benign ones, must hold too.
    rates = [(tpr, 0.0)] if fpr == 0.0 else [(tpr, fpr), (ENTRY_RECALL, 0.0)]
    found = [targets_needed(*pair, target, prevalence, alpha=alpha) for pair in rates]
    benign = _benign_within(fpr, within, alpha)
    if benign is None or within <= 0.0 or not all(found):
        return None
    sure = [one for one in found if one is not None]
    return Case(tpr, fpr, max(one.violating for one in sure), max(benign, *(one.benign for one in sure)))


def _recall_case(missed: int, target: float, *, alpha: float, within: float) -> Case | None:
    violating = _violating_for(missed, target, alpha)
    fpr = 0.0 if within >= 1.0 else WORKED * within
    benign = _benign_within(fpr, within, alpha)
    if violating is None or benign is None:
        return None
    return Case(1.0 - missed / violating, fpr, violating, benign)


def _violating_for(missed: int, target: float, alpha: float) -> int | None:
    """The fewest targets that show the recall although so many are missed: the bound only rises with them."""
    fewest = bisect.bisect_left(
        range(MOST + 1), True, lo=missed + 1, key=lambda count: float(lower(count - missed, count, alpha)) >= target
    )
    return fewest if fewest <= MOST else None


def _within(budget: float, prevalence: float) -> float:
    """The largest share of benign objects flagged that keeps a budget where every violating one is flagged."""
    return (budget - prevalence) / (1.0 - prevalence) if prevalence < 1.0 else 0.0


def _benign_within(fpr: float, within: float, alpha: float) -> int | None:
    """The benign targets whose upper bound stays within what a budget allows; 0 where nothing limits it."""
    if within >= 1.0:
        return 0
    counts = np.unique(np.ceil(np.geomspace(1.0, MOST, 4000)))
    fits = upper(np.ceil(fpr * counts), counts, alpha) <= within
    return int(counts[np.argmax(fits)]) if fits.any() else None

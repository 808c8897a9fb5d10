"""What is missing where nothing can be certified: how many more targets, or why no number of them will do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.compiler.bounds import TPR_PART, Floats, lower, precision, share, upper
from moderation.errors import counted

# Benign targets are cheap and violating ones are not: planning takes one violating for this many benign ones.
PRICE = 10.0
ASSUMED_RECALL = 0.6
_MOST = 10_000.0
_POINTS = 12  # of a trade-off curve


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a promise cannot be certified.

    `more_violating` and `more_benign` are the independent targets (clusters) that would about do if the observed rates held;
    both are None where no number will do. `best_bound` is the best lower bound of the metric that was reached, at
    `best_threshold`. `trade_off` lists, where a budget is broken, the recall bound, the share of traffic and the clusters flagged
    at several cuts, lenient to strict, the one that was asked for among them; each is pointwise.
    """

    reason: str
    more_violating: int | None
    more_benign: int | None
    best_bound: float
    best_threshold: float | None = None
    trade_off: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class LabelsNeeded:
    """How many independent targets (clusters) of each class a guarantee needs."""

    violating: int
    benign: int


def labels_needed(
    metric: str,
    at_least: float,
    confidence: float,
    prevalence: float,
    *,
    recall: float = ASSUMED_RECALL,
    guarantees: int = 1,
) -> LabelsNeeded | None:
    """The fewest targets that can certify a guarantee at this prevalence (the low end), if no error is seen.

    None where no number of targets will do, as at a prevalence of 0.

    For precision, `recall` is the share of violating targets expected above the threshold.
    """
    alpha = (1.0 - confidence) / guarantees
    if metric == "recall":
        return LabelsNeeded(_perfect(at_least, alpha), 0)
    return targets_needed(recall, 0.0, at_least, prevalence, alpha=alpha)


def targets_needed(tpr: float, fpr: float, target: float, prevalence: float, *, alpha: float) -> LabelsNeeded | None:
    """About the fewest targets that show a precision at these rates, benign ones being cheap; None where no number will do."""
    rates = np.array([tpr]), np.array([fpr])
    found = _cheapest(*rates, (1, 1), target=target, prevalence=prevalence, alpha=alpha, price=PRICE)
    return None if found is None else LabelsNeeded(1 + found[0], 1 + found[1])


def largest_fpr(tpr: float, target: float, prevalence: float) -> float:
    """The false positive rate at which precision is just the target, 0 to 1."""
    if prevalence >= 1.0:
        return 1.0
    return min(1.0, prevalence * tpr * (1.0 - target) / ((1.0 - prevalence) * target))


def recall_shortfall(violating: int, target: float, alpha: float) -> Shortfall:
    """Too few violating targets: even all of them flagged would not show enough."""
    needed = _perfect(target, alpha)
    best = float(lower(violating, violating, alpha))
    return Shortfall(
        f"{counted(violating, 'violating cluster')} can show a recall of {best:.3f} at most; {target:g} needs {needed}",
        more_violating=needed - violating,
        more_benign=0,
        best_bound=best,
        best_threshold=0.0,
    )


def precision_shortfall(
    levels: Floats,
    true: Floats,
    false: Floats,
    counts: tuple[int, int],
    *,
    target: float,
    prevalence: float,
    alpha: float,
) -> Shortfall:
    """No threshold's precision bound reaches the target: what more targets would do, at the rates observed.

    `true` and `false` are the violating and benign clusters flagged at each level, of `counts` in all.
    """
    violating, benign = counts
    if not violating or not benign:
        need = labels_needed("precision", target, 1.0 - alpha, prevalence)
        missing = "violating" if not violating else "benign"
        if need is None:
            reason = f"there is no {missing} target, and at prevalence {prevalence:g} no number of targets will do"
            return Shortfall(reason, None, None, 0.0)
        more = max(need.violating - violating, 0), max(need.benign - benign, 0)
        return Shortfall(f"there is no {missing} target; the numbers assume a recall of {ASSUMED_RECALL}", *more, 0.0)
    bounds = precision(
        lower(true, violating, alpha * TPR_PART), upper(false, benign, alpha * (1 - TPR_PART)), prevalence
    )
    place = int(np.argmax(bounds))
    best, cut = float(bounds[place]), float(min(levels[place], 1.0))
    reached = f"the best precision bound at prevalence {prevalence:g} is {best:.3f}; promised is {target:g}"
    if best >= target:
        reached += ", but the sequence of thresholds, fixed before the targets were seen, failed at its start"
    observed = precision(true / violating, false / benign, prevalence)
    # Of levels that flag the same benign targets only the most lenient matters.
    steps = np.append(np.nonzero(np.diff(false))[0], len(false) - 1)
    steps = steps[(observed[steps] >= target) & (true[steps] > 0)]
    if not len(steps):
        top = float(observed.max())
        reason = f"{reached}; no number of targets will do, since the observed precision is {top:.3f} at best"
        return Shortfall(reason, None, None, best, cut)
    # Where no error was seen, one is expected in twice as many targets.
    for unseen in (0.5, 0.0):
        rates = true[steps] / violating, np.where(false[steps] > 0, false[steps], unseen) / benign
        more_targets = _cheapest(
            *rates, counts, target=target, prevalence=prevalence, alpha=alpha, price=max(1.0, benign / violating)
        )
        if more_targets is not None:
            # Where the rates alone would do, the sequence failed at its start by bad luck: a tenth more evens it out.
            more = more_targets if any(more_targets) else (math.ceil(violating / 10), math.ceil(benign / 10))
            return Shortfall(reached, *more, best, cut)
    reason = f"{reached}; no number of targets tried (up to {_MOST:g} times as many) would do at the observed rates"
    return Shortfall(reason, None, None, best, cut)


def budget_shortfall(
    violating: Floats,
    benign: Floats,
    budget: float,
    prevalence: float,
    *,
    cut: float,
    alpha: float,
    recall: float | None = None,
) -> Shortfall:
    """The promise holds at `cut`, but may take more of the traffic than its budget, at the high prevalence.

    `recall` is what is promised, where that is a recall: with more targets it may be shown at a stricter cut, too.
    """
    points = _trade_off(violating, benign, prevalence, cut=cut, alpha=alpha)
    best = max(
        (one for one in points if one["share_upper"] <= budget), key=lambda one: one["recall_lower"], default=None
    )
    allowed = (budget - prevalence) / (1.0 - prevalence) if prevalence < 1.0 else 0.0
    found = float(share(1.0, upper(_at(benign, cut), len(benign), alpha), prevalence))
    reason = f"the promise holds at {cut:g}, but may take {found:.4f} of the traffic; the budget is {budget:g}"
    more = _within(violating, benign, allowed, cut=cut, alpha=alpha, recall=recall)
    if more is None:
        reason += "; no number of targets will do at the observed rates"
    if best is not None:
        reason += f"; within the budget a recall of {best['recall_lower']:.3f} can be shown"
    return Shortfall(
        reason,
        more_violating=None if more is None else more[0],
        more_benign=None if more is None else more[1],
        best_bound=best["recall_lower"] if best else 0.0,
        best_threshold=best["threshold"] if best else None,
        trade_off=points,
    )


def _at(side: Floats, cuts: ArrayLike) -> NDArray[np.int_]:
    """How many of these scores, ascending, each cut flags."""
    return len(side) - np.searchsorted(side, cuts)


def _within(
    violating: Floats, benign: Floats, allowed: float, *, cut: float, alpha: float, recall: float | None
) -> tuple[int, int] | None:
    """The cheapest further targets, violating and benign, that keep the promise with a false positive rate of `allowed` at some cut.

    Both bounds are of one cut, and neither needs the other's targets, so each cut has its own fewest of each.
    """
    cuts = np.array([cut]) if recall is None else np.append(np.unique(violating), cut)
    price = max(1.0, len(benign) / max(len(violating), 1))
    best: tuple[float, int, int] | None = None
    for true, false in zip(_at(violating, cuts), _at(benign, cuts), strict=True):
        missed = 0 if recall is None else _fewest(len(violating), true, lambda k, n: lower(k, n, alpha) >= recall)
        taken = _fewest(len(benign), false, lambda k, n: upper(k, n, alpha) <= allowed)
        if missed is not None and taken is not None:
            best = min(best or (np.inf, 0, 0), (missed * price + taken, missed, taken))
    return None if best is None else best[1:]


def _fewest(count: int, hits: int, enough: Callable[[Floats, Floats], NDArray[np.bool_]]) -> int | None:
    """How many further trials are enough, where as large a share of them hits as did of the `count` so far."""
    tried = max(count, 1)
    trials = np.unique(np.ceil(tried * np.geomspace(1.0, _MOST, 2000)))
    passed = enough(np.floor(hits / tried * trials + 1e-9), trials)
    return int(trials[passed.argmax()]) - count if passed.any() else None


def _trade_off(
    violating: Floats, benign: Floats, prevalence: float, *, cut: float, alpha: float
) -> tuple[Mapping[str, float], ...]:
    if not len(violating):
        return ()
    steps = np.quantile(violating, np.linspace(0.0, 0.95, _POINTS - 1), method="lower")
    cuts = np.unique(np.append(steps, min(cut, 1.0)))
    true, false = _at(violating, cuts), _at(benign, cuts)
    recalls, shares = lower(true, len(violating), alpha), share(1.0, upper(false, len(benign), alpha), prevalence)
    return tuple(
        {
            "threshold": float(cuts[at]),
            "recall_lower": float(recalls[at]),
            "share_upper": float(shares[at]),
            "flagged_violating": int(true[at]),
            "flagged_benign": int(false[at]),
        }
        for at in range(len(cuts))
    )


def _perfect(target: float, alpha: float) -> int:
    """How many targets, all flagged, show a recall of `target`."""
    return math.ceil(math.log(alpha) / math.log(target) - 1e-9)


def _cheapest(
    tpr: Floats, fpr: Floats, counts: tuple[int, int], *, target: float, prevalence: float, alpha: float, price: float
) -> tuple[int, int] | None:
    """The cheapest numbers of further targets at which some level's bound reaches the target, at the rates given."""
    violating, benign = (
        np.unique(np.ceil(count * np.geomspace(1.0, _MOST * scale, 400)))
        for count, scale in zip(counts, (1.0, 100.0), strict=True)
    )
    low = lower(np.floor(tpr[:, None] * violating + 1e-9), violating, alpha * TPR_PART)
    high = upper(np.floor(fpr[:, None] * benign + 1e-9), benign, alpha * (1.0 - TPR_PART))
    # What is allowed of the false positive rate falls out of the precision formula; both sides are monotone enough to
    # look for the first that fits.
    allowed = prevalence * low * (1.0 - target) / ((1.0 - prevalence) * target)
    best: tuple[float, int, int] | None = None
    for row in range(len(tpr)):
        fits = high[row][None, :] <= allowed[row][:, None]
        possible = np.nonzero(fits.any(axis=1))[0]
        if not len(possible):
            continue
        first = benign[fits[possible].argmax(axis=1)] - counts[1]
        extra = violating[possible] - counts[0]
        cost = extra * price + first
        place = int(np.argmin(cost))
        if best is None or cost[place] < best[0]:
            best = float(cost[place]), int(extra[place]), int(first[place])
    return None if best is None else (best[1], best[2])

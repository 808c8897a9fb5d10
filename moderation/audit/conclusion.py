"""What one harm came to, in words: the reason for its verdict with every figure, and one plain sentence for everybody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moderation.audit.cells import LEAST_CLUSTERS
from moderation.audit.gaps import ALPHA, Verdict
from moderation.audit.power import OUT_OF_REACH, times_needed
from moderation.audit.result import Gap, HarmResult

_HAPPENS = {
    "fpr": "harmless items of {group} are acted on",
    "fnr": "violating items of {group} are missed",
    "review_share": "items of {group} are sent to review",
}


def tell_reason(result: HarmResult, *, may_pass: bool) -> str:
    """Why it has its verdict: the largest difference, what bounds it, and where nothing is shown, what would settle it."""
    gap = result.gaps[0]
    told = f"{gap.a} {_figure(result, gap.a)} and {gap.b} {_figure(result, gap.b)}: {gap.difference:.3f} apart ({gap.low:.3f} to {gap.high:.3f})"
    if result.verdict is Verdict.FAIL:
        worst = max(result.gaps, key=lambda one: one.lower)
        named = "" if worst is gap else f"; {worst.a} and {worst.b}"
        return f"{told}{named}; surely at least {worst.lower:.3f}, tolerated {result.tolerance:g}"
    upper = max(one.upper for one in result.gaps)
    if result.verdict is Verdict.PASS:
        return f"{told}; no two groups are more than {upper:.3f} apart, tolerated {result.tolerance:g}"
    if upper < result.tolerance and not may_pass:
        left = [cell.group for cell in result.cells if not cell.compared]
        what = f"too few clusters of {', '.join(left)}" if left else "too many items could not be judged"
        return f"{told}; within the tolerance {result.tolerance:g} for what could be compared, but {what}"
    return f"{told}; up to {upper:.3f} is possible, tolerated {result.tolerance:g}: {_would_settle(result)}"


def tell_why_not(result: HarmResult, stated: Sequence[str]) -> str:
    """Why it could not be assessed; `stated` are the attributes that any item states."""
    if not result.cells:
        return f"no item of the audit data states {result.attribute}; stated: {', '.join(stated) or 'nothing'}"
    kind = {"fpr": "benign items", "fnr": "violating items"}.get(result.metric, "items")
    enough = [cell.group for cell in result.cells if cell.compared]
    few = ", ".join(f"{cell.group} {cell.clusters}" for cell in result.cells if not cell.compared)
    have = f"only {enough[0]} has" if enough else "no group has"
    return f"{have} {kind} of at least {LEAST_CLUSTERS} clusters; clusters: {few}"


def in_plain_words(result: HarmResult) -> str:
    """One sentence for a harm that fails or is open: who fares worse, by how much, how sure; empty for any other."""
    if result.verdict not in (Verdict.FAIL, Verdict.INSUFFICIENT):
        return ""
    gap, upper = _named(result), max(one.upper for one in result.gaps)
    happens = _HAPPENS[result.metric].format(group=gap.a)
    rates = f"{_percent(result, gap.a)} against {_percent(result, gap.b)} of {gap.b}"
    tolerated = f"{_points(result.tolerance)} are tolerated"
    if result.verdict is Verdict.FAIL:
        return f"More {happens}: {rates}. It is 95 % sure that the difference is at least {_points(gap.lower)} points; {tolerated}."
    if upper < result.tolerance:
        return f"More {happens}: {rates}. That is within what is tolerated, but not everybody could be compared."
    possible = f"up to {_points(upper)} points are possible; {tolerated}"
    if _shown(result):
        return f"More {happens}: {rates}. A difference is there; whether it is too large is open: {possible}."
    if gap.low > 0.0:
        return f"More {happens}: {rates}. It looks like a difference and may be chance: {possible}."
    return f"No difference is shown, nor that there is none. Seen: more {happens}, {rates}; {possible}."


def _shown(result: HarmResult) -> bool:
    """Whether any two groups differ at all, by the test and the corrected bounds."""
    return result.p_adjusted is not None and result.p_adjusted <= ALPHA and any(one.lower > 0.0 for one in result.gaps)


def _named(result: HarmResult) -> Gap:
    """The difference to speak of: the one that is surely the largest, where any is sure; else the largest seen."""
    return max(result.gaps, key=lambda one: one.lower) if _shown(result) else result.gaps[0]


def _would_settle(result: HarmResult) -> str:
    gap, smallest = _named(result), min(cell.effective for cell in result.cells if cell.compared)
    if gap.low > 0.0:
        seen = "there is a gap" if _shown(result) else "there may well be a gap"
        named = "" if gap is result.gaps[0] else f" ({gap.a} and {gap.b})"
        return f"{seen} of about {gap.difference:.3f}{named}; {_side(result)}"
    if smallest >= result.needed:
        return "more items would settle it, but rates that differ so may well fail"
    return f"about {result.needed:,} independent items in each group would settle equal rates; the smallest is worth {smallest:,.0f}"


def _side(result: HarmResult) -> str:
    """How much more evidence tells on which side of the tolerance the largest difference lies, if it is as it looks."""
    lower = max(one.lower for one in result.gaps)
    if lower > result.tolerance:
        return f"its bound is {lower:.3f}, but groups dealt by chance differ as much too often (p {result.p_adjusted:.3f}): more clusters would settle it"
    difference, low, high = np.array([(one.difference, one.lower, one.upper) for one in result.gaps]).T
    room = np.abs(difference - result.tolerance)
    if difference[0] > result.tolerance:  # the first of them that shows it is a failure; a pass takes them all
        tests, what = result.pairs * result.family, "more than tolerated"
        times = times_needed(difference - low, room, tests=tests)[difference > result.tolerance].min()
    else:
        what, times = "within the tolerance", times_needed(high - difference, room, tests=1).max()
    if times > OUT_OF_REACH:
        return f"it lies so near the tolerance that {OUT_OF_REACH} times as many independent items would not tell on which side"
    return f"if it is that large, about {times:.1f} times as many independent items would show that it is {what}"


def _figure(result: HarmResult, group: str) -> str:
    rate = _rate(result, group)
    return f"{rate:.3f}" if rate is not None else "undefined"


def _percent(result: HarmResult, group: str) -> str:
    rate = _rate(result, group)
    return f"{100.0 * rate:.3g} %" if rate is not None else "undefined"


def _points(share: float) -> str:
    return f"{100.0 * share:.3g}"


def _rate(result: HarmResult, group: str) -> float | None:
    return next(one for one in result.cells if one.group == group).rate

"""Each rule of the search by itself, on examples that tip when it is left out; and the whole against a plain loop."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from moderation.compiler import bounds
from moderation.compiler.bounds import TPR_PART
from moderation.compiler.certify import ScoredTarget, certify, entry_count, grid
from moderation.policy.lock import LockedAction
from tests.unit.compiler.test_certify import PREVALENCE, gaussian, promise

APART = gaussian(4, 100, 2000)(np.random.default_rng(0))


def scored(violating: dict[float, int], benign: dict[float, int]) -> list[ScoredTarget]:
    """So many targets of each score, each a cluster of its own."""
    return [
        ScoredTarget(score, target, f"{target}{score}{at}", f"{target}{score}{at}")
        for target, side in ((True, violating), (False, benign))
        for score, count in side.items()
        for at in range(count)
    ]


def certified(targets: list[ScoredTarget], metric: str, at_least: float, **options: float) -> LockedAction:
    (locked,) = certify(targets, [promise(metric, at_least, **options)], PREVALENCE)
    return locked


def test_a_precision_promise_keeps_its_budget_too() -> None:
    free = certified(APART, "precision", 0.4)
    held = certified(APART, "precision", 0.4, budget=0.3)
    assert free.threshold < held.threshold
    assert held.certificate["share_upper"] <= 0.3 < free.certificate["share_upper"]
    used = held.certificate["share_upper"]
    assert certified(APART, "precision", 0.4, budget=used + 1e-6).threshold == held.threshold
    assert certified(APART, "precision", 0.4, budget=used - 1e-6).threshold > held.threshold
    short = certified(APART, "precision", 0.4, budget=0.21)
    assert short.threshold is None
    assert "budget" in short.shortfall["reason"]


@pytest.mark.parametrize("metric", ["precision", "recall"])
def test_a_budget_is_a_second_promise_and_takes_half_of_the_error(metric: str) -> None:
    alone, both = certified(APART, metric, 0.5), certified(APART, metric, 0.5, budget=0.9)
    assert (alone.certificate["alpha"], both.certificate["alpha"]) == pytest.approx((0.1, 0.05))
    sides = [both.certificate[name] for name in ("flagged_benign", "benign")]
    expected = bounds.share(1.0, bounds.upper(*sides, 0.05), PREVALENCE.high)
    assert both.certificate["share_upper"] == pytest.approx(float(expected), abs=0.003)


def test_the_budget_of_a_recall_promise_holds_at_the_high_end_of_the_prevalence() -> None:
    found = certified(APART, "recall", 0.9, budget=0.9).certificate
    at_low, at_high = (0.1 + 0.9 * found["fpr_upper"], 0.2 + 0.8 * found["fpr_upper"])
    assert found["share_upper"] == pytest.approx(at_high)
    assert certified(APART, "recall", 0.9, budget=(at_low + at_high) / 2).threshold is None


def test_the_search_stops_at_the_first_threshold_that_fails_though_a_later_one_would_pass() -> None:
    violating = {0.95: 70, 0.3: 130}
    early, late = {0.97: 8, 0.6: 30, 0.1: 1962}, {0.97: 8, 0.29: 30, 0.1: 1962}
    stopped, free = (certified(scored(violating, benign), "precision", 0.6) for benign in (early, late))
    assert 0.6 < stopped.threshold <= 0.95
    assert free.threshold <= 0.3
    tpr, fpr = bounds.lower(200, 200, 0.1 * TPR_PART), bounds.upper(38, 2000, 0.1 * (1 - TPR_PART))
    assert bounds.precision(tpr, fpr, PREVALENCE.low) >= 0.6  # the counts at 0.3, in both


def test_fewer_benign_targets_than_the_start_allows_count_as_so_many() -> None:
    allowed = entry_count(200, 2000, 0.6, PREVALENCE.low, alpha=0.1)
    assert allowed > 3
    few = scored({0.95: 30, 0.02: 170}, {0.1: 2000})
    assert certified(few, "precision", 0.6).threshold is None
    # None of the benign is flagged down to 0.1, and with none counted 30 of 200 violating would have been enough.
    tpr = bounds.lower(30, 200, 0.1 * TPR_PART)
    assert bounds.precision(tpr, bounds.upper(0, 2000, 0.1 * (1 - TPR_PART)), 0.1) >= 0.6


SCORES = (0.02, 0.3, 0.5, 0.7, 0.9, 0.98)
counts = st.lists(st.integers(0, 60), min_size=len(SCORES), max_size=len(SCORES))


@given(
    violating=counts,
    benign=counts,
    metric=st.sampled_from(["precision", "recall"]),
    at_least=st.sampled_from([0.2, 0.5, 0.8]),
    budget=st.sampled_from([None, 0.3, 0.6, 0.9]),
)
def test_the_search_is_the_plain_loop_that_it_is_described_as(
    violating: list[int], benign: list[int], metric: str, at_least: float, budget: float | None
) -> None:
    sides = [np.repeat(SCORES, side) for side in (violating, [*np.array(benign[:1]) * 20, *benign[1:]])]
    made = scored(*({score: int((side == score).sum()) for score in SCORES} for side in sides))
    (locked,) = certify(made, [promise(metric, at_least, budget=budget)], PREVALENCE)
    by_hand = slow_precision if metric == "precision" else slow_recall
    assert locked.threshold == by_hand(*sides, at_least, budget)


def low(hits: int, trials: int, alpha: float) -> float:
    return float(beta.ppf(alpha, hits, trials - hits + 1)) if hits else 0.0


def high(hits: int, trials: int, alpha: float) -> float:
    return float(beta.ppf(1 - alpha, hits + 1, trials - hits)) if hits < trials else 1.0


def slow_precision(violating: np.ndarray, benign: np.ndarray, at_least: float, budget: float | None) -> float | None:
    alpha, found = 0.1 if budget is None else 0.05, None
    allowed = entry_count(len(violating), len(benign), at_least, PREVALENCE.low, alpha=alpha)
    levels = [float(level) for level in grid()]
    start = max(at for at, level in enumerate(levels) if (benign >= level).sum() <= allowed)
    for level in levels[start:]:
        flagged = max(int((benign >= level).sum()), allowed)
        tpr = low(int((violating >= level).sum()), len(violating), alpha * TPR_PART) * PREVALENCE.low
        fpr = high(flagged, len(benign), alpha * (1 - TPR_PART)) * (1 - PREVALENCE.low)
        share = PREVALENCE.high + (1 - PREVALENCE.high) * high(flagged, len(benign), alpha)
        if tpr < at_least * (tpr + fpr) or (budget is not None and share > budget):
            break
        found = level
    return found


def slow_recall(violating: np.ndarray, benign: np.ndarray, at_least: float, budget: float | None) -> float | None:
    alpha, found = 0.1 if budget is None else 0.05, None
    for level in np.unique(violating):
        if low(int((violating >= level).sum()), len(violating), alpha) < at_least:
            break
        found = float(level)
    if found is None or budget is None:
        return found
    share = PREVALENCE.high + (1 - PREVALENCE.high) * high(int((benign >= found).sum()), len(benign), alpha)
    return found if share <= budget else None


def test_the_budget_of_a_precision_promise_holds_at_the_high_end_too() -> None:
    narrow = SimpleNamespace(low=0.1, high=0.1)
    (wide_fails,) = certify(APART, [promise("precision", 0.4, budget=0.19)], PREVALENCE)
    (narrow_holds,) = certify(APART, [promise("precision", 0.4, budget=0.19)], narrow)
    assert wide_fails.threshold is None
    assert narrow_holds.threshold is not None

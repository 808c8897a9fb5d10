"""A plan's numbers are what `certify` then takes: so many do, far fewer do not, and what nothing can mend is said."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.compiler.bounds import lower
from moderation.compiler.certify import ScoredTarget, certify
from moderation.compiler.plan import MISSED, Case, enough, plan


def promise(metric: str, at_least: float, *, confidence: float = 0.9, budget: float | None = None) -> Any:
    guarantee = SimpleNamespace(metric=metric, at_least=at_least, confidence=confidence)
    return SimpleNamespace(action="act", guarantee=guarantee, budget=budget)


def between(low: float, high: float | None = None) -> Any:
    return SimpleNamespace(low=low, high=low if high is None else high)


def judged(case: Case, scale: float = 1.0) -> list[ScoredTarget]:
    """Targets that a classifier of the case's rates has scored: flagged ones high, the others low.

    Three in ten violating ones score higher than any benign one: certify starts where few benign ones are flagged.
    """
    made = []
    for violating, rate, count in ((True, case.tpr, case.violating), (False, case.fpr, case.benign)):
        number = max(1, round(scale * count))
        # As the plan counts: what is found is rounded down, what is flagged by mistake down too, since a rate is a rate.
        flagged = math.floor(rate * number + 1e-9)
        for at in range(number):
            name = f"{'v' if violating else 'b'}{at}"
            score = 0.1 if at >= flagged else 0.99 if violating and at < 0.3 * number else 0.9
            made.append(ScoredTarget(score, violating, name, name))
    return made


def certified(made: list[ScoredTarget], one: Any, prevalence: Any) -> bool:
    return certify(made, [one], prevalence)[0].threshold is not None


@pytest.mark.parametrize(("at_least", "cases"), [(0.99999, 4), (0.9999999999, 0), (math.nextafter(1.0, 0.0), 0)])
def test_a_recall_that_nobody_can_judge_enough_for_has_no_case(at_least: float, cases: int) -> None:
    (found,) = plan([promise("recall", at_least)], between(0.01))
    assert len(found.cases) == cases


@given(st.floats(0.5, 0.999), st.integers(0, 3))
def test_a_recall_plan_names_the_fewest_targets_that_show_it(at_least: float, place: int) -> None:
    (found,) = plan([promise("recall", at_least)], between(0.01))
    count, missed = found.cases[place].violating, MISSED[place]
    assert lower(count - missed, count, found.alpha) >= at_least
    assert count == missed + 1 or lower(count - 1 - missed, count - 1, found.alpha) < at_least


@pytest.mark.parametrize("at_least", [0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("budget", [None, 0.6])
def test_what_a_precision_plan_says_certifies_and_a_third_does_not(
    at_least: float, prevalence: float, budget: float | None
) -> None:
    one, interval = promise("precision", at_least, budget=budget), between(prevalence)
    (found,) = plan([one], interval)
    assert len(found.cases) == 6
    for case in found.cases:
        assert certified(judged(case), one, interval), case
        if case.fpr == 0.0 and at_least > prevalence and case.violating >= 12:
            assert not certified(judged(case, 0.33), one, interval), case


@pytest.mark.parametrize("at_least", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("budget", [None, 0.3])
def test_what_a_recall_plan_says_certifies_and_one_violating_target_less_does_not(
    at_least: float, budget: float | None
) -> None:
    one, interval = promise("recall", at_least, budget=budget), between(0.05)
    (found,) = plan([one], interval)
    for missed, case in zip((0, 1, 2, 5), found.cases, strict=True):
        assert round((1 - case.tpr) * case.violating) == missed
        made = judged(case)
        # Those that are missed lie lower than any benign target, so that a threshold there breaks a budget.
        low = [ScoredTarget(0.05, t.target, t.cluster, t.digest) if t.target and t.score < 0.5 else t for t in made]
        (action,) = certify(low, [one], interval)
        assert action.threshold is not None
        assert action.threshold > 0.5
        fewer = low[1:]  # one that was flagged
        (action,) = certify(fewer, [one], interval)
        assert action.threshold is None or action.threshold < 0.5


def test_guarantees_of_one_policy_and_budgets_share_the_error() -> None:
    alone = plan([promise("recall", 0.9)], between(0.1))[0]
    shared = plan([promise("recall", 0.9), promise("precision", 0.5, budget=0.5)], between(0.1))
    assert alone.alpha == pytest.approx(0.1)
    assert [one.alpha for one in shared] == pytest.approx([0.05, 0.025])
    assert alone.cases[0].violating == 22  # log(0.1) / log(0.9), rounded up
    assert shared[0].cases[0].violating == 29


def test_what_no_number_can_mend_is_said() -> None:
    assert plan([promise("precision", 0.9)], between(0.0, 0.1))[0].cases == ()
    (over,) = plan([promise("recall", 0.8, budget=0.05)], between(0.05, 0.1))  # violations alone take a tenth
    assert (over.cases, over.largest_fpr) == ((), 0.0)


@given(st.floats(0.05, 0.95), st.floats(0.01, 0.6), st.floats(0.01, 0.4))
def test_a_rarer_violation_or_a_higher_promise_never_takes_less(
    at_least: float, prevalence: float, step: float
) -> None:
    (one,) = plan([promise("precision", at_least)], between(prevalence))
    (rarer,) = plan([promise("precision", at_least)], between(prevalence * (1 - step)))
    (higher,) = plan([promise("precision", at_least + (1 - at_least) * step)], between(prevalence))
    for harder in (rarer, higher):
        assert harder.largest_fpr <= one.largest_fpr
        for easy, hard in zip(one.cases[::2], harder.cases[::2], strict=True):  # no benign target flagged
            price = 10 * easy.violating + easy.benign
            assert 10 * hard.violating + hard.benign >= 0.9 * price  # what is tried grows in steps


def test_enough_wants_both_sides() -> None:
    case = Case(0.9, 0.0, 10, 100)
    assert enough(case, 10, 100)
    assert not enough(case, 9, 1000)
    assert not enough(case, 1000, 99)

"""Backtests: the same rule as decide.judge, loads and flips counted, and no figure where targets allow none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Score, Severity
from moderation.errors import LockError
from moderation.history.vectors import StoredBatch, StoredRow
from moderation.policy.decide import Cut, Finding, Terms, judge
from moderation.release.backtest import actions_for, backtest
from tests.fakes import action, lock
from tests.policy_text import ACTIONS

scores = st.integers(0, 1_000_000).map(lambda number: number / 1_000_000)
cuts = st.lists(st.tuples(st.sampled_from(ACTIONS[1:]), scores), min_size=1, max_size=4, unique_by=lambda one: one[0])


@given(cuts, st.lists(scores, min_size=1, max_size=30))
def test_it_is_the_rule_that_decides_everywhere_else(made: list[tuple[str, float]], values: list[float]) -> None:
    given_cuts = tuple(Cut(name, threshold) for name, threshold in made)
    terms = Terms("p", "1.0.0", "r", "live", Severity.LOW, "review", given_cuts, 1)
    expected = [
        judge(terms, [Finding("0", Score("p", value), "p")], parts=1, order=ACTIONS).action or "" for value in values
    ]
    assert actions_for(given_cuts, np.array(values), ACTIONS).tolist() == expected


def batch(count: int, *, targets: bool = True) -> StoredBatch:
    width = lock().width
    vectors = np.random.default_rng(0).normal(size=(count, width))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    modality = str(lock().modalities[0])
    rows = tuple(
        StoredRow(f"{n:064d}", modality, n % 2 == 0 if targets else None, f"c{n // 2}", {"region": "ns"[n % 2]})
        for n in range(count)
    )
    return StoredBatch(rows, vectors, {"not finite": 1})


LOW, HIGH = lock(actions=(action("review", 0.3),)), lock(actions=(action("review", 0.7),))


def test_loads_flips_and_groups_are_counted() -> None:
    found = backtest(HIGH, [batch(200), batch(200)], order=ACTIONS, before=LOW, budgets={"review": 0.0001})
    (load,) = found.loads
    assert found.items == 400
    assert found.skipped == {"not finite": 2}
    assert set(found.flips) <= {"review to nothing"}
    assert sum(changed for changed, _ in found.by_group.values()) == sum(found.flips.values())
    assert load.low <= load.share <= load.high
    assert found.over_budget == (("review",) if load.items else ())
    assert json.loads(json.dumps(found.to_dict()))["schema"] == "backtest/v1"


def test_without_targets_nothing_is_estimated() -> None:
    (load,) = backtest(LOW, [batch(50, targets=False)], order=ACTIONS).loads
    assert load.precision.value is None
    assert load.recall.why == "not estimable: no item is judged to violate"


def test_a_lock_alone_flips_nothing() -> None:
    assert backtest(LOW, [batch(50)], order=ACTIONS).flips == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (replace(LOW, detectors=("keywords",)), "vectors alone cannot answer"),
        (lock(actions=(action("review", None),)), "no threshold"),
        (lock("fire", actions=(action("review", 0.5),)), "two locks of one policy"),
    ],
)
def test_what_vectors_cannot_answer_is_refused(wrong, says: str) -> None:
    with pytest.raises(LockError, match=says):
        backtest(LOW, [batch(5)], order=ACTIONS, before=wrong)

"""The rule over columns is the rule for one item: any cuts, ε, numbers of parts and silent detectors, with and without a review action."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from moderation.decision import Abstention, Score, Severity
from moderation.policy.columns import NONE, OUTCOMES, judge_columns
from moderation.policy.decide import Cut, Finding, Terms, judge

WITH_REVIEW = ("allow", "label", "limit", "review", "remove")
WITHOUT = ("none", "hide", "delete")

scores = st.integers(0, 1_000_000).map(lambda number: number / 1_000_000)
near = st.integers(499_990, 500_010).map(lambda number: number / 1_000_000)
items = st.lists(st.tuples(st.none() | scores | near, st.booleans(), st.integers(1, 4)), min_size=1, max_size=30)


@st.composite
def terms(draw: Any) -> tuple[Terms, tuple[str, ...]]:
    order = draw(st.sampled_from([WITH_REVIEW, WITHOUT]))
    names = st.sampled_from(order[1:])
    cuts = draw(st.lists(st.builds(Cut, names, scores | near), max_size=4))
    epsilon = draw(st.just(0.0) | st.integers(0, 20).map(lambda number: number / 1_000_000) | scores)
    on_error, most = draw(st.sampled_from(order)), draw(st.integers(0, 3))
    return Terms("p", "1.0.0", "r", "live", Severity.LOW, on_error, tuple(cuts), most, epsilon), order


@given(terms(), items)
@example(
    (Terms("p", "1.0.0", "r", "live", Severity.LOW, "allow", (Cut("remove", 0.5),), 1, 0.1), WITH_REVIEW),
    [(0.45, True, 1)],
)
def test_every_item_gets_what_the_rule_for_one_gives(
    given_terms: tuple[Terms, tuple[str, ...]], rows: list[tuple[float | None, bool, int]]
) -> None:
    one, order = given_terms
    found = judge_columns(
        one,
        np.array([np.nan if value is None else value for value, *_ in rows], np.float64),
        parts=np.array([parts for *_, parts in rows]),
        silent=np.array([silent for _, silent, _ in rows]),
        order=order,
    )
    for place, (value, silent, parts) in enumerate(rows):
        findings = [] if value is None else [Finding("0", Score("p", value), "p")]
        findings += [Finding("1", Abstention("timeout"), "q")] if silent else []
        expected = judge(one, findings, parts=parts, order=order)
        assert OUTCOMES[found.outcome[place]] is expected.outcome
        assert found.force[place] == (NONE if expected.action is None else order.index(expected.action))


def test_no_items_are_no_verdicts() -> None:
    one = Terms("p", "1.0.0", "r", "live", Severity.LOW, "allow", (Cut("remove", 0.5),), 1)
    nothing = np.zeros(0)
    found = judge_columns(one, nothing, parts=nothing, silent=nothing.astype(bool), order=WITH_REVIEW)
    assert (len(found.outcome), len(found.force)) == (0, 0)

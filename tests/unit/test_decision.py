from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation import Decision, Outcome, Score, Severity, Verdict
from moderation.decision import Timing

numbers = st.floats(0, 1)
words = st.text(min_size=1, max_size=8)
verdicts = st.builds(
    Verdict,
    policy=words,
    version=words,
    revision=words,
    status=words,
    outcome=st.sampled_from(Outcome),
    severity=st.sampled_from(Severity),
    action=st.none() | words,
    score=st.none() | numbers,
    threshold=st.none() | numbers,
    margin=st.none() | st.floats(-1, 1),
    concept=st.none() | words,
    evidence=st.none() | st.dictionaries(words, st.floats(-9, 9), max_size=3),
    part=st.none() | words,
    region=st.none() | st.tuples(numbers, numbers, numbers, numbers),
    error=st.none() | words,
)
decisions = st.builds(
    Decision,
    item_id=words,
    decision_id=words,
    action=words,
    severity=st.sampled_from(Severity),
    verdicts=st.lists(verdicts, max_size=3).map(tuple),
    encoders=st.dictionaries(words, words, max_size=2),
    timing=st.builds(Timing, numbers, numbers, numbers, numbers),
    cache_hit=st.booleans(),
)


@given(decisions)
def test_a_decision_survives_json(decision: Decision) -> None:
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_a_score_outside_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="expected a number in"):
        Score("label", value)


def test_severities_are_ordered() -> None:
    assert [s.rank for s in (Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)] == [
        0,
        1,
        2,
        3,
        4,
    ]

"""Laws of deciding: a higher score never asks for less, order is irrelevant, an error is never milder than on_error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Abstention, Outcome, Score, Severity, Verdict
from moderation.policy.decide import Cut, Finding, Terms, judge, strongest
from tests.fakes import ACTIONS

actions = st.sampled_from(ACTIONS)
# A coarse grid makes scores meet thresholds often; fine ones come in between.
numbers = st.one_of(st.integers(0, 20).map(lambda n: n / 20), st.floats(0.0, 1.0))
all_terms = st.builds(
    Terms,
    policy=st.just("p"),
    version=st.just("1"),
    revision=st.just("r"),
    status=st.just("draft"),
    severity=st.sampled_from(Severity),
    on_error=actions,
    cuts=st.lists(st.builds(Cut, actions, numbers), max_size=4).map(tuple),
    max_parts=st.integers(0, 4),
    epsilon=st.sampled_from([0.0, 1e-6, 0.03, 0.4]),
)
scores = st.builds(Score, st.sampled_from(["p", "q"]), numbers)
answers = st.one_of(scores, st.sampled_from([Abstention("detector_error"), Abstention("bad_answer")]))
detectors = st.sampled_from([None, "keywords", "ocr"])
regions = st.sampled_from([None, (0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5)])
found_by = st.builds(Finding, st.sampled_from(["a", "b"]), answers, detector=detectors, region=regions)
findings = st.lists(found_by, min_size=1, max_size=5)


def force(verdict: Verdict) -> int:
    return -1 if verdict.action is None else ACTIONS.index(verdict.action)


def judged(terms: Terms, found: list[Finding], parts: int = 1) -> Verdict:
    return judge(terms, found, parts=parts, order=ACTIONS)


@given(all_terms, findings, scores, numbers, st.integers(1, 6))
def test_a_higher_score_never_weakens_the_action(
    terms: Terms, found: list[Finding], score: Score, value: float, parts: int
) -> None:
    before = [*found, Finding("c", score)]
    after = [*found, Finding("c", replace(score, value=max(score.value, value)))]
    assert force(judged(terms, after, parts)) >= force(judged(terms, before, parts))


@given(all_terms, findings, answers, st.integers(1, 6))
def test_one_more_finding_never_weakens_the_action(terms: Terms, found: list[Finding], more: Any, parts: int) -> None:
    assert force(judged(terms, [*found, Finding("c", more)], parts)) >= force(judged(terms, found, parts))


@given(all_terms, findings, st.data())
def test_the_order_of_findings_is_irrelevant(terms: Terms, found: list[Finding], data: st.DataObject) -> None:
    assert judged(terms, found) == judged(terms, data.draw(st.permutations(found)))


@given(all_terms, findings)
def test_what_could_not_be_judged_never_asks_for_less_than_on_error(terms: Terms, found: list[Finding]) -> None:
    verdict = judged(terms, [*found, Finding("c", Abstention("quarantined"))])
    assert force(verdict) >= ACTIONS.index(terms.on_error)
    assert verdict.outcome is not Outcome.NO_MATCH


@given(all_terms, findings, st.integers(1, 6))
def test_a_verdict_is_whole(terms: Terms, found: list[Finding], parts: int) -> None:
    verdict = judged(terms, found, parts)
    assert (verdict.error is not None) == (verdict.outcome is Outcome.ERROR)
    assert (verdict.action is None) == (verdict.outcome is Outcome.NO_MATCH)
    if verdict.outcome is Outcome.ERROR:
        assert verdict.action == terms.on_error
    if verdict.outcome is Outcome.MATCH:
        assert parts <= terms.max_parts
        assert verdict.action in {cut.action for cut in terms.cuts}
        assert verdict.score is not None
        assert verdict.threshold is not None
        assert verdict.score >= verdict.threshold


@given(all_terms, findings)
def test_epsilon_changes_a_verdict_only_near_a_threshold(terms: Terms, found: list[Finding]) -> None:
    exact, careful = judged(replace(terms, epsilon=0.0), found), judged(terms, found)
    near = exact.score is not None and any(abs(exact.score - c.threshold) <= terms.epsilon + 1e-6 for c in terms.cuts)
    assert near or exact == careful


@given(st.lists(st.tuples(all_terms, findings), max_size=4), st.data())
def test_the_order_of_policies_is_irrelevant(made: list[tuple[Terms, list[Finding]]], data: st.DataObject) -> None:
    verdicts = [judged(one, found) for one, found in made]
    action, severity = strongest(verdicts, ACTIONS)
    assert strongest(data.draw(st.permutations(verdicts)), ACTIONS) == (action, severity)
    assert ACTIONS.index(action) == max([0, *(force(one) for one in verdicts)])

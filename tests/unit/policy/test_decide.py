"""The rules by which scores become a verdict and verdicts an action, one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from moderation.decision import Abstention, Outcome, Score, Severity, Verdict
from moderation.policy.calibration import Calibration
from moderation.policy.decide import Cut, Finding, Terms, answer, decision_id, final_score, judge, strongest
from tests.fakes import ACTIONS

TERMS = Terms(
    policy="weapons",
    version="1.0.0",
    revision="abc",
    status="draft",
    severity=Severity.HIGH,
    on_error="review",
    cuts=(Cut("remove", 0.9), Cut("review", 0.5)),
    max_parts=3,
)
MILD = replace(TERMS, cuts=(Cut("label", 0.5),))
SILENT = Abstention("unsupported_input")


def verdict(
    *answers: float | Abstention, terms: Terms = TERMS, parts: int = 1, order: tuple[str, ...] = ACTIONS
) -> Verdict:
    findings = [
        Finding(f"p{place}", one if isinstance(one, Abstention) else Score("weapons", one, concept="a gun"))
        for place, one in enumerate(answers)
    ]
    return judge(terms, findings, parts=parts, order=order)


@pytest.mark.parametrize(
    ("score", "outcome", "action", "threshold", "margin"),
    [
        (0.95, Outcome.MATCH, "remove", 0.9, 0.05),
        (0.9, Outcome.MATCH, "remove", 0.9, 0.0),
        (0.899999, Outcome.REVIEW, "review", 0.5, 0.399999),
        (0.5, Outcome.REVIEW, "review", 0.5, 0.0),
        (0.499999, Outcome.NO_MATCH, None, 0.5, -0.000001),
    ],
)
def test_a_cut_fires_at_its_threshold(
    score: float, outcome: Outcome, action: str | None, threshold: float, margin: float
) -> None:
    found = verdict(score)
    assert (found.outcome, found.action, found.threshold, found.margin) == (outcome, action, threshold, margin)
    assert (found.policy, found.version, found.revision, found.severity) == ("weapons", "1.0.0", "abc", Severity.HIGH)


def test_scores_are_rounded_to_a_millionth_before_they_are_compared() -> None:
    assert verdict(0.8999996).action == "remove"
    assert verdict(0.8999994).action == "review"
    assert verdict(0.8999996).score == 0.9


def test_the_score_is_the_highest_over_parts_and_names_what_carried_it() -> None:
    found = verdict(0.2, 0.95, 0.6, parts=3)
    assert (found.score, found.part, found.concept) == (0.95, "p1", "a gun")


@pytest.mark.parametrize("said", [Score("weapons", 0.7), SILENT])
@pytest.mark.parametrize(
    ("one", "other"),
    [({}, {"region": (0.0, 0.0, 0.5, 0.5)}), ({}, {"detector": "ocr"}), ({"detector": "faces"}, {"detector": "ocr"})],
)
def test_what_differs_in_its_place_or_detector_alone_is_told_in_no_order_that_it_came_in(
    said: Score | Abstention, one: dict[str, Any], other: dict[str, Any]
) -> None:
    both = [Finding("p0", said, **one), Finding("p0", said, **other)]
    assert judge(TERMS, both, parts=1, order=ACTIONS) == judge(TERMS, both[::-1], parts=1, order=ACTIONS)


def test_the_evidence_is_that_of_the_score_that_counts() -> None:
    scored = [Finding(str(at), Score("weapons", at / 10, evidence={"firearm": float(at)})) for at in (2, 9, 6)]
    assert judge(TERMS, scored, parts=3, order=ACTIONS).evidence == {"firearm": 9.0}
    assert verdict(0.95).evidence is None


def test_the_strongest_action_counts_whatever_the_order_of_the_thresholds() -> None:
    upside_down = replace(TERMS, cuts=(Cut("review", 0.9), Cut("remove", 0.5)))
    assert verdict(0.95, terms=upside_down).action == "remove"
    assert verdict(0.6, terms=upside_down).action == "remove"


def test_a_policy_without_a_certified_threshold_cannot_decide_and_still_shows_its_score() -> None:
    found = verdict(0.99, terms=replace(TERMS, cuts=()))
    assert (found.outcome, found.error, found.action, found.score) == (Outcome.ERROR, "uncertified", "review", 0.99)


@pytest.mark.parametrize(
    ("reason", "on_error"),
    list(product(["detector_error", "detector_timeout", "bad_answer", "quarantined"], ["allow", "review", "remove"])),
)
def test_trap_09_every_kind_of_failure_takes_the_declared_fail_mode(reason: str, on_error: str) -> None:
    found = verdict(0.1, Abstention(reason), terms=replace(TERMS, on_error=on_error))
    assert (found.outcome, found.action, found.error) == (Outcome.ERROR, on_error, reason)


def test_trap_08_a_missing_score_is_an_error_and_never_safe() -> None:
    for found, reason in ((verdict(), "no_score"), (verdict(SILENT), "unsupported_input")):
        assert (found.outcome, found.action, found.error, found.score) == (Outcome.ERROR, "review", reason, None)


def test_an_error_names_whose_score_is_missing_and_never_the_label_of_another() -> None:
    scored = Finding("p0", Score("weapons", 0.2), "clip")
    for silent, label in (("ocr", None), ("clip", "weapons")):
        found = judge(TERMS, [scored, Finding("p1", SILENT, silent)], parts=2, order=ACTIONS)
        assert (found.error, found.detector, found.label) == ("unsupported_input", silent, label)


def test_a_match_stands_beside_a_part_that_could_not_be_judged() -> None:
    found = verdict(0.95, SILENT, parts=2)
    assert (found.outcome, found.action, found.error) == (Outcome.MATCH, "remove", None)
    as_strong = verdict(0.6, SILENT, parts=2)
    assert (as_strong.outcome, as_strong.action, as_strong.error) == (Outcome.REVIEW, "review", None)


def test_a_match_weaker_than_on_error_does_not_hide_what_could_not_be_judged() -> None:
    plain = verdict(0.6, terms=MILD)
    assert (plain.outcome, plain.action) == (Outcome.MATCH, "label")
    found = verdict(0.6, SILENT, terms=MILD, parts=2)
    assert (found.outcome, found.action, found.error) == (Outcome.ERROR, "review", "unsupported_input")
    assert found.score == 0.6


def test_more_parts_than_certified_is_at_most_review() -> None:
    assert verdict(0.95, parts=3).action == "remove"
    found = verdict(0.95, parts=4)
    assert (found.outcome, found.action, found.threshold) == (Outcome.REVIEW, "review", 0.9)
    assert verdict(0.1, parts=4).outcome is Outcome.NO_MATCH
    mild = verdict(0.6, terms=MILD, parts=4)
    assert (mild.outcome, mild.action) == (Outcome.REVIEW, "label")


@pytest.mark.parametrize(
    ("score", "outcome", "action"),
    [
        (0.921, Outcome.MATCH, "remove"),
        (0.91, Outcome.REVIEW, "review"),
        (0.89, Outcome.REVIEW, "review"),
        (0.51, Outcome.REVIEW, "review"),
        (0.49, Outcome.REVIEW, "review"),
        (0.479, Outcome.NO_MATCH, None),
    ],
)
def test_trap_15_a_score_within_epsilon_of_a_threshold_goes_to_review(
    score: float, outcome: Outcome, action: str | None
) -> None:
    found = verdict(score, terms=replace(TERMS, epsilon=0.02))
    assert (found.outcome, found.action) == (outcome, action)


def test_a_platform_without_an_action_named_review_demotes_to_on_error() -> None:
    terms = replace(TERMS, cuts=(Cut("ban", 0.5),), on_error="hide")
    found = verdict(0.9, terms=terms, parts=9, order=("pass", "hide", "ban"))
    assert (found.outcome, found.action) == (Outcome.REVIEW, "hide")


def test_an_item_takes_the_strongest_action_and_its_gravest_severity() -> None:
    high = verdict(0.6)
    low = replace(verdict(0.95), severity=Severity.LOW)
    silent = verdict(0.1)
    assert strongest([high, low, silent], ACTIONS) == ("remove", Severity.HIGH)
    assert strongest([silent], ACTIONS) == ("allow", Severity.INFO)
    assert strongest([], ACTIONS) == ("allow", Severity.INFO)


@pytest.mark.parametrize("status", ["draft", "shadow", "deprecated"])
def test_only_a_live_build_may_act_and_every_other_is_decided_and_marked(status: str) -> None:
    live = verdict(0.6, terms=replace(TERMS, status="live"))
    other = replace(verdict(0.95, terms=replace(TERMS, status=status)), severity=Severity.CRITICAL)
    alone = answer("i", (other,), ACTIONS, encoders={})
    assert (alone.action, alone.severity, alone.proposed) == ("allow", Severity.INFO, "remove")
    both = answer("i", (live, other), ACTIONS, encoders={})
    assert (both.action, both.severity, both.proposed) == ("review", TERMS.severity, "remove")
    assert both.verdicts == (live, other)


def test_what_a_build_that_is_not_live_cannot_judge_asks_for_nothing() -> None:
    made = answer(
        "i", (verdict(SILENT, terms=replace(TERMS, on_error="remove", status="draft")),), ACTIONS, encoders={}
    )
    assert (made.action, made.proposed) == ("allow", "remove")


def test_an_error_that_asks_for_nothing_leaves_the_item_alone() -> None:
    assert strongest([verdict(SILENT, terms=replace(TERMS, on_error="allow"))], ACTIONS) == ("allow", Severity.INFO)


def test_the_final_score_is_unknown_as_soon_as_one_part_is() -> None:
    scored = [Finding("a", Score("weapons", 0.1234567)), Finding("b", Score("gambling", 0.05))]
    assert final_score(scored) == Score("weapons", 0.123457)
    assert final_score([*scored, Finding("c", SILENT)]) == SILENT
    assert final_score([]) == Abstention("no_score")


def test_the_decision_id_follows_the_item_and_the_revisions() -> None:
    one = verdict(0.6)
    ids = {
        decision_id("a", [one]),
        decision_id("a", [verdict(0.1)]),
        decision_id("b", [one]),
        decision_id("a", [replace(one, revision="def")]),
        decision_id("a", []),
    }
    assert len(ids) == 4
    assert all(len(id_) == 32 for id_ in ids)


def test_a_calibrated_probability_stands_beside_the_score_and_decides_nothing() -> None:
    tells = replace(TERMS, calibration=Calibration("isotonic", knots=((0.0, 0.0), (1.0, 0.25))))
    plain, told = verdict(0.6), verdict(0.6, terms=tells)
    assert (plain.calibrated, told.calibrated) == (None, 0.15)
    assert replace(told, calibrated=None) == plain
    assert verdict(SILENT, terms=tells).calibrated is None

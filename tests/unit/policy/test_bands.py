"""Bands: where each action begins and ends, and when none is left for one."""

from __future__ import annotations

from moderation.decision import Score, Severity
from moderation.policy.bands import Band, bands
from moderation.policy.decide import Cut, Finding, Terms, judge
from tests.fakes import ACTIONS, action


def test_each_action_ends_where_the_next_stronger_one_begins() -> None:
    found = bands([action("review", 0.4), action("remove", 0.9), action("label", 0.2), action("limit", None)], ACTIONS)
    assert found == (Band("remove", 0.9), Band("review", 0.4, 0.9, "remove"), Band("label", 0.2, 0.4, "review"))
    assert not any(one.empty for one in found)


def test_an_action_that_begins_above_a_stronger_one_has_an_empty_band() -> None:
    found = bands([action("remove", 0.5), action("review", 0.6), action("label", 0.55), action("limit", 0.1)], ACTIONS)
    assert [one.action for one in found if one.empty] == ["review", "label"]
    assert found[-2:] == (Band("limit", 0.1, 0.5, "remove"), Band("label", 0.55, 0.1, "limit"))


def test_bands_are_what_decides() -> None:
    actions = [action("remove", 0.5), action("review", 0.6), action("limit", 0.1), action("label", 0.3)]
    cuts = tuple(Cut(one.action, one.threshold) for one in actions if one.threshold is not None)
    terms = Terms("p", "1", "r", "draft", Severity.LOW, "allow", cuts, 1)
    found = bands(actions, ACTIONS)
    for step in range(101):
        score = step / 100
        named = [one.action for one in found if one.low <= score and (one.high is None or score < one.high)]
        verdict = judge(terms, [Finding("a", Score("p", score))], parts=1, order=ACTIONS)
        assert verdict.action == (named[0] if named else None)

"""Statements of reasons: the database's own rules, what is never told, and what is never invented."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.policy.schema import Basis, Policy
from moderation.release.explain import explain
from tests.policy_text import POLICY, load

# StatementStoreRequest of digital-services-act/transparency-database: name -> (longest, values it may take).
RULES: dict[str, tuple[int | None, set[str] | None]] = {
    "decision_visibility": (None, {
        "DECISION_VISIBILITY_CONTENT_REMOVED", "DECISION_VISIBILITY_CONTENT_DISABLED", "DECISION_VISIBILITY_CONTENT_DEMOTED",
        "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED", "DECISION_VISIBILITY_CONTENT_INTERACTION_RESTRICTED",
        "DECISION_VISIBILITY_CONTENT_LABELLED", "DECISION_VISIBILITY_OTHER",
    }),
    "decision_visibility_other": (500, None),
    "decision_ground": (None, {"DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"}),
    "illegal_content_legal_ground": (500, None),
    "illegal_content_explanation": (2000, None),
    "incompatible_content_ground": (500, None),
    "incompatible_content_explanation": (2000, None),
    "content_type": (None, {
        "CONTENT_TYPE_APP", "CONTENT_TYPE_AUDIO", "CONTENT_TYPE_IMAGE", "CONTENT_TYPE_PRODUCT", "CONTENT_TYPE_SYNTHETIC_MEDIA",
        "CONTENT_TYPE_TEXT", "CONTENT_TYPE_VIDEO", "CONTENT_TYPE_OTHER",
    }),
    "content_type_other": (500, None),
    "category": (None, None),
    "content_date": (None, None),
    "application_date": (None, None),
    "decision_facts": (5000, None),
    "source_type": (None, {"SOURCE_ARTICLE_16", "SOURCE_TRUSTED_FLAGGER", "SOURCE_TYPE_OTHER_NOTIFICATION", "SOURCE_VOLUNTARY"}),
    "automated_detection": (None, {"Yes", "No"}),
    "automated_decision": (None, {"AUTOMATED_DECISION_FULLY", "AUTOMATED_DECISION_PARTIALLY", "AUTOMATED_DECISION_NOT_AUTOMATED"}),
    "puid": (500, None),
}  # fmt: skip
REQUIRED = {"decision_facts", "content_type", "source_type", "automated_detection", "automated_decision"}
SOURCE = {"source_type": "SOURCE_VOLUNTARY"}


def problems(fields: dict[str, Any]) -> list[str]:
    """What the database would refuse, but for what is told as missing."""
    found = [f"{name} is no field" for name in fields.keys() - RULES.keys()]
    found += [f"{name} is required" for name in REQUIRED - fields.keys()]
    for name, value in fields.items():
        longest, values = RULES.get(name, (None, None))
        several = value if isinstance(value, list) else [value]
        found += [f"{name}: {one!r} is no value of it" for one in several if values and one not in values]
        found += [f"{name} is too long" for one in several if longest and len(one) > longest]
    ground = fields.get("decision_ground")
    for value, names in (
        ("DECISION_GROUND_ILLEGAL_CONTENT", {"illegal_content_legal_ground", "illegal_content_explanation"}),
        ("DECISION_GROUND_INCOMPATIBLE_CONTENT", {"incompatible_content_ground", "incompatible_content_explanation"}),
    ):
        found += [f"{name} does not go with {ground}" for name in names if (ground == value) != (name in fields)]
    other = "DECISION_VISIBILITY_OTHER" in fields.get("decision_visibility", [])
    found += ["decision_visibility_other"] * (other != ("decision_visibility_other" in fields))
    found += ["content_type_other"] * (
        ("CONTENT_TYPE_OTHER" in fields["content_type"]) != ("content_type_other" in fields)
    )
    return found


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load(
        tmp_path, POLICY.replace("severity: high", "severity: high\nbasis: {kind: terms, reference: section 4.2}")
    )


def verdict(action: str = "remove", outcome: Outcome = Outcome.MATCH, **changes: Any) -> Verdict:
    made = Verdict(
        "weapons", "1.0.0", "cafe", "live", outcome, Severity.HIGH, action=action, score=0.987654, threshold=0.912345, margin=0.075309,
        concept="a handgun",
    )  # fmt: skip
    return replace(made, **changes)


def decision(one: Verdict, **encoders: str) -> Decision:
    return Decision("item 1", "d" * 32, one.action or "allow", Severity.HIGH, one.action or "allow", (one,), encoders)


@pytest.mark.parametrize("action", ["remove", "limit", "label", "review", "something of the platform's own"])
@pytest.mark.parametrize("kind", ["terms", "law"])
@pytest.mark.parametrize("encoders", [{"image": "f"}, {"image": "f", "text": "g"}, {}], ids=["image", "both", "none"])
def test_the_database_would_take_it(policy: Policy, action: str, kind: str, encoders: dict[str, str]) -> None:
    policy = policy.model_copy(update={"basis": Basis(kind=kind, reference="section 4.2")})
    outcome = Outcome.REVIEW if action == "review" else Outcome.MATCH
    one = verdict(action, outcome)
    assert problems(dict(explain(decision(one, **encoders), one, policy, given=SOURCE).fields)) == []


@given(st.text(min_size=1, max_size=9000).filter(str.strip))
def test_nothing_is_longer_than_it_may_be(words: str) -> None:
    made = Policy.model_validate(
        POLICY_VALUES | {"basis": {"kind": "law", "reference": (words * 2)[:4000]}}, strict=False
    )
    one = verdict(concept=words)
    assert problems(dict(explain(decision(one, image="f"), one, made, given=SOURCE).fields)) == []


POLICY_VALUES: dict[str, Any] = {
    "schema": "policy/v1", "id": "weapons", "title": "Weapons", "version": "1.0.0", "owner": "team", "review_by": "2027-01-01",
    "severity": "high", "scope": {"modalities": ("image",)}, "definition": {"violates": ({"id": "v1", "text": "x" * 3000},)},
    "concepts": {"violating": ({"id": "gun", "covers": ("v1",), "phrases": ("a gun",)},)},
    "prevalence": {"low": 0.1, "high": 0.2, "source": "a sample", "n": 10},
    "actions": ({"action": "remove", "guarantee": {"metric": "precision", "at_least": 0.9, "confidence": 0.9}},),
    "on_error": "review", "tests": ("t.yaml",),
}  # fmt: skip


def test_no_score_and_no_threshold_is_told_to_anyone(policy: Policy) -> None:
    one = verdict()
    told = str(explain(decision(one, image="f"), one, policy).to_dict())
    for secret in ("0.98", "0.91", "0.07"):
        assert secret not in told


EVIDENCE = {"firearm": 3.0, "loud-noise": 1.0, "dust": 0.001, "toy": -0.5, "kitchen_knife": -1.5}


def test_what_concepts_added_is_told_in_shares_the_strongest_first(policy: Policy) -> None:
    one = verdict(evidence=EVIDENCE)
    made = explain(decision(one, image="f"), one, policy, given=SOURCE)
    said = "What spoke for a breach: firearm (75%), loud noise (25%)."
    for told in (made.text, made.fields["decision_facts"]):
        assert said in told
        assert "What spoke against it: kitchen knife, toy." in told
        for secret in ("dust", "3.0", "1.5", "0.98"):
            assert secret not in told
    assert problems(dict(made.fields)) == []


@pytest.mark.parametrize("evidence", [None, {}, {"toy": 0.0}])
def test_where_nothing_was_added_nothing_is_said_of_it(policy: Policy, evidence: dict[str, float] | None) -> None:
    one = verdict(evidence=evidence)
    assert "What spoke" not in str(explain(decision(one, image="f"), one, policy).to_dict())


def test_the_place_in_the_picture_is_told(policy: Policy) -> None:
    one = verdict(region=(0.25, 0.0, 0.5, 1 / 3), part="part-0#tiles-3")
    made = explain(decision(one, image="f"), one, policy, given=SOURCE)
    said = "Where: from 25% to 50% of the picture's width, and from 0% to 33% of its height."
    for told in (made.text, made.fields["decision_facts"]):
        assert said in told
    assert problems(dict(made.fields)) == []
    whole = verdict()
    assert "Where" not in str(explain(decision(whole, image="f"), whole, policy).to_dict())
    unread = verdict("review", Outcome.ERROR, region=(0.25, 0.0, 0.5, 0.5), error="reader_timeout")
    assert "Where" not in explain(decision(unread, image="f"), unread, policy).text


def test_what_could_not_be_judged_was_spoken_for_by_nothing(policy: Policy) -> None:
    one = verdict("review", Outcome.ERROR, evidence=EVIDENCE, error="detector_timeout")
    assert "What spoke" not in str(explain(decision(one, image="f"), one, policy).to_dict())


def test_what_cannot_be_known_is_missing_and_what_is_given_is_taken(policy: Policy) -> None:
    one = verdict()
    bare = explain(decision(one, image="f"), one, policy)
    assert set(bare.missing) == {"category", "content_date", "application_date", "puid", "source_type"}
    assert not set(bare.missing) & set(bare.fields)
    full = explain(
        decision(one, image="f"),
        one,
        policy,
        given={**SOURCE, "puid": "p-1", "category": "STATEMENT_CATEGORY_VIOLENCE", "content_date": None},
    )
    assert full.fields["puid"] == "p-1"
    assert set(full.missing) == {"content_date", "application_date"}


def test_a_policy_without_a_basis_says_what_it_lacks(tmp_path: Path) -> None:
    one = verdict()
    found = explain(decision(one, image="f"), one, load(tmp_path))
    assert "decision_ground" in found.missing
    assert "decision_ground" not in found.fields


def test_a_person_in_the_loop_is_said_and_only_then(policy: Policy) -> None:
    automatic, looked_at = verdict(), verdict("review", Outcome.REVIEW)
    told = explain(decision(automatic), automatic, policy)
    assert told.fields["automated_decision"] == "AUTOMATED_DECISION_FULLY"
    assert "No person has looked at it yet" in told.text
    told = explain(decision(looked_at), looked_at, policy)
    assert told.fields["automated_decision"] == "AUTOMATED_DECISION_PARTIALLY"
    assert "waits for a person" in told.text


def test_what_waits_for_a_person_is_no_decision_yet(policy: Policy) -> None:
    one = verdict("review", Outcome.REVIEW)
    made = explain(decision(one, image="f"), one, policy)
    assert made.preview
    assert "decision_visibility" not in made.fields
    assert made.missing["decision_visibility"].startswith("nothing was done yet")


def test_what_a_rollout_held_back_was_not_done(policy: Policy) -> None:
    one = verdict("remove", limit="rollout")
    made = explain(decision(one, image="f"), one, policy)
    assert (made.preview, "decision_visibility" in made.fields) == (True, False)
    assert "rollout" in made.missing["decision_visibility"]
    assert made.text.startswith("Nothing was done to your content, though it seems to break")
    demoted = verdict("remove", limit="quota", limited_to="limit")
    assert explain(decision(demoted, image="f"), demoted, policy).fields["decision_visibility"] == [
        "DECISION_VISIBILITY_CONTENT_DEMOTED"
    ]


@pytest.mark.parametrize("kind", ["terms", "law"])
def test_what_could_not_be_judged_is_not_called_a_breach(policy: Policy, kind: str) -> None:
    policy = policy.model_copy(update={"basis": Basis(kind=kind, reference="section 4.2")})
    one = verdict("remove", Outcome.ERROR, score=None, concept=None, error="unsupported_input")
    made = explain(decision(one, image="f"), one, policy)
    assert not [name for name in made.fields if "ground" in name or "explanation" in name]
    assert made.missing["decision_ground"].startswith("nothing was found")


def test_a_title_is_told_as_it_is_written(policy: Policy) -> None:
    one = verdict()
    named = policy.model_copy(update={"title": "NSFW: iOS screenshots"})
    assert 'our rule "NSFW: iOS screenshots"' in explain(decision(one), one, named).text


def test_the_rule_that_is_told_is_the_one_the_concept_stands_for(policy: Policy) -> None:
    one = verdict()
    assert "A working firearm is offered for sale." in explain(decision(one), one, policy).text


@pytest.mark.parametrize("action", ["review", "remove"])
def test_what_could_not_be_judged_and_was_acted_on_is_explained_as_that(policy: Policy, action: str) -> None:
    one = verdict(action, Outcome.ERROR, score=None, concept=None, error="unsupported_input")
    made = explain(decision(one, image="f"), one, policy, given=SOURCE)
    assert problems(dict(made.fields)) == []
    assert "could not compare" in made.fields["decision_facts"]
    assert "it could not be read" in made.text
    assert "seems to break" not in made.text
    partly = made.fields["automated_decision"] == "AUTOMATED_DECISION_PARTIALLY"
    assert partly == ("waits for a person" in made.text) == (action == "review")


@pytest.mark.parametrize("status", ["draft", "shadow", "live", "deprecated"])
def test_only_what_a_live_build_asked_for_may_be_sent(policy: Policy, status: str) -> None:
    one = verdict(status=status)
    made = explain(decision(one, image="f"), one, policy)
    assert made.preview == made.to_dict()["preview"] == (status != "live")

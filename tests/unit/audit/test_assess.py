"""Whole audits: their verdicts, what they refuse to be silent about, and bad data."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from moderation.audit.assess import Request, assess, registration
from moderation.audit.design import Design
from moderation.audit.gaps import Verdict
from moderation.audit.harms import assess_harms, measure
from moderation.audit.page import render_markdown
from moderation.audit.result import Audit as AuditResult
from moderation.audit.result import FunctionalTest, overall
from moderation.audit.sample import make_sample
from moderation.detector.head import Head
from moderation.policy.audit_block import Audit
from moderation.policy.loader import load_policy
from moderation.policy.schema import Policy
from tests.fakes import lock
from tests.policy_text import POLICY
from tests.unit.audit.audited import block, judged, planted, sample_of

GROUP = {"name": "group", "about": "depicted", "source": "annotators", "agreement": 0.71}
LOCK = lock("weapons")
TESTS = {
    "revision": LOCK.revision,
    "results": [
        {
            "suite": "s",
            "id": "museum",
            "kind": "capability",
            "status": "failed",
            "expected": "no_match",
            "found": "58 of 60",
            "score": None,
        },
        {
            "suite": "s",
            "id": "lighter",
            "kind": "todo",
            "status": "todo",
            "expected": "no_match",
            "found": "match",
            "score": 0.9,
        },
    ],
}


def policy_of(text: str) -> Policy:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weapons.yaml"
        path.write_text(text, encoding="utf-8")
        return load_policy(path, action_names=ORDER)


ORDER = ("allow", "label", "limit", "review", "remove")


def verdicts(sample, *harms, **settings):
    return [one.verdict for one in assess_harms(block(*harms, **settings), sample, order=ORDER)]


def test_a_large_gap_fails_and_an_even_treatment_passes():
    assert verdicts(planted({"a": 0.05, "b": 0.25}, 800, seed=0)) == [Verdict.FAIL]
    assert verdicts(planted({"a": 0.05, "b": 0.05}, 8000, seed=0), {"tolerance": 0.03}) == [Verdict.PASS]


def test_no_difference_found_is_not_a_pass():
    assert verdicts(planted({"a": 0.05, "b": 0.05}, 60, seed=0)) == [Verdict.INSUFFICIENT]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([judged(n) for n in range(40)], "no item of the audit data states group"),
        ([judged(n, group="a") for n in range(40)], "only a has"),
        ([judged(n, group="ab"[n % 2], target=True) for n in range(40)], "no group has benign items"),
        (
            [judged(n, group="ab"[n % 2], score=float("nan")) for n in range(40)],
            "no item of the audit data states group",
        ),
        ([], "no item of the audit data states group"),
    ],
    ids=["no attribute", "one group", "one class", "no scores", "no items"],
)
def test_what_cannot_be_assessed_says_why(items, reason):
    (found,) = assess_harms(block(), sample_of(items), order=ORDER)
    assert found.verdict is Verdict.NOT_ASSESSED
    assert reason in found.reason


def test_items_that_could_not_be_judged_stand_in_the_way_of_a_pass():
    even = planted({"a": 0.0, "b": 0.0}, 2000, seed=0)
    assert verdicts(even, {"tolerance": 0.05}) == [Verdict.PASS]
    filtered = replace(even, lost={"group": {"b": 400}}, excluded={"detector_error": 400})
    (found,) = assess_harms(block({"tolerance": 0.05}), filtered, order=ORDER)
    assert found.verdict is Verdict.INSUFFICIENT
    assert "too many items could not be judged" in found.reason


def test_acted_on_means_the_harms_action_or_a_stronger_one():
    items = [judged(n, group="ab"[n % 2], force=ORDER.index("limit") if n % 2 else 0) for n in range(400)]
    assert verdicts(sample_of(items), {"action": "label"}) == [Verdict.FAIL]
    assert verdicts(sample_of(items), {"action": "remove", "tolerance": 0.2}) == [Verdict.PASS]


def test_each_harm_counts_what_it_names():
    # benign and left alone, benign and labelled, benign and sent to review, violating and removed, violating and left alone
    items = [
        judged(0),
        judged(1, force=ORDER.index("label")),
        judged(2, force=ORDER.index("review"), review=True),
        judged(3, target=True, force=ORDER.index("remove")),
        judged(4, target=True),
    ]

    def counted(metric: str, action: str | None = None) -> list[int]:
        (harm,) = block({"metric": metric, "action": action}).harms
        found = measure(harm, sample_of(items), ORDER)
        return [int(event) if eligible else -1 for eligible, event in zip(found.eligible, found.event, strict=True)]

    assert counted("fpr") == [0, 1, 1, -1, -1]
    assert counted("fpr", "review") == [0, 0, 1, -1, -1]
    assert counted("fnr") == [-1, -1, -1, 0, 1]
    assert counted("fnr", "remove") == [-1, -1, -1, 0, 1]
    assert counted("review_share") == [0, 0, 1, 0, 0]


def test_the_family_is_what_was_declared_not_what_could_be_tested():
    sample = planted({"a": 0.05, "b": 0.12}, 500, seed=3)
    (alone,) = assess_harms(block(), sample, order=ORDER)
    of_many = assess_harms(block({}, {"name": "missed", "metric": "fnr"}), sample, order=ORDER)[0]
    assert alone.p_adjusted == alone.p
    assert of_many.p is not None
    assert of_many.p_adjusted == pytest.approx(2 * of_many.p)


def test_the_gravest_verdict_is_the_audits():
    fail, passed = (assess_harms(block(), planted({"a": 0.05, "b": b}, 800, seed=0), order=ORDER) for b in (0.3, 0.05))
    assert overall((*passed, *fail)) is Verdict.FAIL
    assert overall(()) is Verdict.NOT_ASSESSED


def whole(
    declared: Audit | None = None, text: str = POLICY, *, explained: bool = False, **settings: Any
) -> AuditResult:
    """A whole audit of 400 made items, a reviewer's outcome on every seventh, and one item of a group with an awkward name."""
    contrast = "[{id: toy, covers: [a1], phrases: [a water pistol, a plastic toy gun]}]"
    two = (
        "[{id: toy, covers: [a1], phrases: [a water pistol]}, {id: kitchen, covers: [a1], phrases: [a kitchen knife]}]"
    )
    policy = policy_of(text.replace(contrast, two))
    head = Head(
        "L0", np.eye(2, 4, dtype=np.float32), np.eye(3, 4, k=1, dtype=np.float32)[1:], np.ones(4), np.zeros(4), 20.0
    )
    if explained:
        head = replace(head, level="L5", sharpness=2.0, weights=np.array([1.0, 0.5, 0.7, 0.0]))
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    items = [
        judged(
            n,
            group="ab"[n % 2],
            language=("de", "en")[n % 4 // 2],
            said="" if n % 7 else ("upheld", "overturned")[n % 3 // 2],
            cluster=f"c{n // 2}",
            score=float(one),
            force=3 * int(one > 0.5),
            review=bool(one > 0.5),
            target=n // 2 % 5 == 0,
        )
        for n, one in enumerate(head.score(vectors).values)
    ]
    items.append(judged(400, group="<b>b</b>|", score=0.2))
    vectors = np.concatenate([vectors, vectors[:1]])
    declared = declared or block(
        attributes=[GROUP, {"name": "language", "about": "language", "source": "a detector"}],
        intersections=[["group", "language"]],
        counterfactuals=["group"],
        review={"outcome": "said"},
        sampling="every third report of a week",
        agreement=0.9,
    )
    sample = make_sample(items, [one.name for one in declared.attributes], review=declared.review)
    given = {"tests": TESTS, "design": Design(head, vectors, {"review": 0.5}), **settings}
    request = Request(ORDER, date="2026-01-01", by="safety", command="moderation policy audit x.yaml", **given)
    return assess(policy, declared, LOCK, sample, request)


@cache
def usual() -> AuditResult:
    """`whole` as it is, made once."""
    return whole()


def test_an_audit_is_plain_values_and_the_same_every_time():
    plain = whole().to_dict()
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(whole().to_dict()))
    assert plain["schema"] == "audit/v1"
    assert plain["verdict"] in {one.value for one in Verdict}
    assert {"name", "attribute", "verdict"} <= plain["harms"][0].keys()


def test_the_markdown_table_is_not_broken_by_a_groups_name():
    text = render_markdown(usual())
    rows = [line for line in text.splitlines() if line.startswith("| wrongful |")]
    assert rows
    assert all(line.replace("\\|", "").count("|") in {6, 8} for line in rows)


def test_dropping_a_contrast_concept_moves_who_is_acted_on_not_how_many():
    found = usual()
    assert {one.change for one in found.sensitivity} <= {"without toy", "without kitchen"}
    proposed = whole(proposed={"a person": np.array([0, 0, 0, 1], np.float32)})
    assert "with 'a person'" in {one.change for one in proposed.sensitivity}


def test_a_contrast_concept_is_dropped_or_added_where_phrases_add_up_too():
    proposed = {"a person": np.array([0, 0, 0, 1], np.float32)}
    found = {one.change: one for one in whole(explained=True, proposed=proposed).sensitivity}
    assert set(found) == {"without toy", "without kitchen", "with 'a person'"}
    assert found["without kitchen"].after == found["without kitchen"].before  # it had no weight


def test_the_registration_changes_with_a_tolerance():
    assert registration(block()) != registration(block({"tolerance": 0.03}))


def test_the_header_says_who_and_on_what():
    found = usual()
    assert (found.by, found.date, found.sampling, found.agreement) == (
        "safety",
        "2026-01-01",
        "every third report of a week",
        0.9,
    )
    assert {"moderation", "numpy", "python", "scikit-learn", "scipy"} == found.versions.keys()
    assert found.command == "moderation policy audit x.yaml"


def test_the_data_is_known_by_content_targets_clusters_and_groups():
    def data(**change: Any) -> str:
        items = [judged(n, **{"group": "a", "cluster": f"c{n}", **(change if n == 3 else {})}) for n in range(20)]
        request = Request(ORDER)
        return assess(policy_of(POLICY), block(), LOCK, sample_of(items), request).data

    changes = [{}, {"target": True}, {"cluster": "c0"}, {"group": "b"}, {"group": ""}]
    assert len({data(**one) for one in changes}) == len(changes)
    assert data() == data(score=0.9)  # a score is an answer, not data


def test_functional_tests_stand_in_the_audit_of_their_own_revision_only():
    assert usual().tests == (
        FunctionalTest("s", "museum", "capability", "failed", "no_match", "58 of 60"),
        FunctionalTest("s", "lighter", "todo", "todo", "no_match", "match"),
    )
    for other in (None, {**TESTS, "revision": "another"}, {}):
        found = whole(tests=other)
        assert found.tests == ()
        assert any("functional tests: no report of this revision" in one for one in found.not_assessed)
    assert not any("functional tests" in one for one in usual().not_assessed)


def test_error_rates_stand_by_language():
    told = usual().article_15["error_rates_by_language"]
    assert told.keys() == {"de", "en"}
    assert told["de"]["false_positive"]["items"] + told["en"]["false_positive"]["items"] == 320
    assert 0.0 < told["de"]["false_positive"]["low"] < told["de"]["false_positive"]["rate"]


def test_one_language_needs_no_attribute_and_several_need_one():
    plain = block(attributes=[GROUP])
    told = whole(plain).article_15["error_rates_by_language"]
    assert told.keys() == {"en"}  # the policy's only one
    several = whole(plain, POLICY.replace("languages: [en]", "languages: [en, de]"))
    assert several.article_15["error_rates_by_language"] == {}
    assert any("error rates by language" in one for one in several.not_assessed)
    assert not any("error rates by language" in one for one in whole(plain).not_assessed)


def test_exact_bounds_of_error_rates_count_clusters():
    items = [judged(n, group="a", cluster=f"c{n // 20}", force=int(n < 40)) for n in range(400)]
    found = assess(policy_of(POLICY), block(), LOCK, sample_of(items), Request(ORDER)).article_15
    rate = found["error_rates_in_this_audit"]["false_positive"]
    assert (rate["rate"], rate["items"]) == (0.1, 400)
    assert (
        rate["low"] < 0.02
    )  # of 400 independent items it would be 0.072; of 20 clusters, of which 2 are all wrong, 0.012
    assert found["error_rates_in_this_audit"]["false_negative"]["rate"] is None


def test_what_is_not_known_is_said():
    told = whole(
        block(attributes=[GROUP, {"name": "tone", "about": "depicted", "source": "nobody"}]), design=None, tests=None
    )
    for what in (
        "wrongful by tone: no item of the audit data states tone; stated: group, language, said",
        "tone: not stated by 401 of 401 items",
        "intersections of attributes: none is declared",
        "counterfactual pairs: no attribute",
        "class-design sensitivity and associations: they need the vectors",
        "functional tests:",
        "after review: how often reviewers overturn decisions, by group; audit.review would name",
    ):
        assert any(one.startswith(what) for one in told.not_assessed), what
    for what in (
        "targets are as the manifest says; how far several people agree",
        "the policy says nothing of how they were drawn",
        "they agree to 0.71",
    ):
        assert any(what in one for one in told.limits), what


def test_what_is_known_is_not_called_unknown():
    found = usual()
    assert not any(
        "after review" in one or "counterfactual" in one or "intersections" in one for one in found.not_assessed
    )
    assert any("drawn so: every third report of a week" in one for one in found.limits)
    assert any("people agree on them to 0.9" in one for one in found.limits)
    assert found.attributes[0].overturns


def test_all_of_one_class_and_everything_excluded_are_said():
    items = [judged(n, group="ab"[n % 2]) for n in range(40)] + [
        judged(n, group="a", score=float("nan")) for n in range(40, 44)
    ]
    found = assess(policy_of(POLICY), block(), LOCK, sample_of(items), Request(ORDER))
    assert any("every one of 40 items is benign" in one for one in found.not_assessed)
    assert "4 items: the score is no number" in found.not_assessed


def test_a_head_that_no_phrase_moves_says_so_instead_of_showing_zeros():
    items = [judged(n, group="ab"[n % 2]) for n in range(40)]
    directions = np.eye(2, 4, dtype=np.float32)
    head = Head(
        "L3",
        directions,
        directions[::-1].copy(),
        np.ones(4),
        np.zeros(4),
        20.0,
        probe=np.ones(4),
        anchor=np.zeros(1),
    )
    design = Design(head, np.tile(directions[:1].astype(np.float16), (40, 1)), {"review": 0.5})
    found = assess(policy_of(POLICY), block(), LOCK, sample_of(items), Request(ORDER, design=design))
    assert any("no phrase moves its scores" in one for one in found.not_assessed)

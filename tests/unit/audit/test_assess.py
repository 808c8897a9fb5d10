"""Whole audits: their verdicts, what they refuse to be silent about, and bad data."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from moderation.audit.assess import Request, assess, registration
from moderation.audit.design import Design
from moderation.audit.gaps import Verdict
from moderation.audit.harms import assess_harms
from moderation.audit.page import render_html, render_markdown
from moderation.audit.result import overall
from moderation.detector.head import Head
from moderation.policy.loader import load_policy
from moderation.policy.schema import Policy
from tests.fakes import lock
from tests.policy_text import POLICY
from tests.unit.audit.audited import block, judged, planted, sample_of


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


def test_a_null_audit_of_many_harms_fails_in_no_more_than_one_of_twenty():
    harms = [
        {"name": f"h{n}", "metric": metric, "tolerance": 0.001} for n, metric in enumerate(("fpr", "review_share"))
    ]
    found = [verdicts(planted({"a": 0.1, "b": 0.1, "c": 0.1}, 150, seed=seed), *harms) for seed in range(200)]
    assert sum(Verdict.FAIL in one for one in found) <= 20  # 5 % of 200, and what chance adds in one of a thousand


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


def whole(*, explained=False, **settings):
    contrast = "[{id: toy, covers: [a1], phrases: [a water pistol, a plastic toy gun]}]"
    two = (
        "[{id: toy, covers: [a1], phrases: [a water pistol]}, {id: kitchen, covers: [a1], phrases: [a kitchen knife]}]"
    )
    policy = policy_of(POLICY.replace(contrast, two))
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
            n, group="ab"[n % 2], score=float(one), force=3 * int(one > 0.5), review=bool(one > 0.5), target=n % 5 == 0
        )
        for n, one in enumerate(head.score(vectors).values)
    ]
    items.append(judged(400, group="<b>b</b>|", score=0.2))
    vectors = np.concatenate([vectors, vectors[:1]])
    declared = block(intersections=[["group", "group"]], counterfactuals=["group"])
    design = Design(head, vectors, {"review": 0.5})
    request = Request(ORDER, date="2026-01-01", command="moderation policy audit x.yaml", design=design, **settings)
    return assess(policy, declared, lock("weapons"), sample_of(items), request)


def test_an_audit_is_plain_values_and_the_same_every_time():
    plain = whole().to_dict()
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(whole().to_dict()))
    assert plain["schema"] == "audit/v1"
    assert plain["verdict"] in {one.value for one in Verdict}
    assert {"name", "attribute", "verdict"} <= plain["harms"][0].keys()


def test_the_page_escapes_and_holds_a_table_behind_every_plot():
    page = render_html(whole(), cuts={"review": 0.5})
    assert "<b>b</b>" not in page
    assert "<script" not in page
    assert page.count("<table") >= page.count("<svg")
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_markdown_table_is_not_broken_by_a_groups_name():
    text = render_markdown(whole())
    rows = [line for line in text.splitlines() if line.startswith("| wrongful |")]
    assert rows
    assert all(line.replace("\\|", "").count("|") in {6, 8} for line in rows)


def test_an_earlier_audit_stands_beside_this_one():
    before = whole().to_dict()
    before["harms"][0]["gaps"] = [{"difference": 0.5}]
    before["harms"][0]["verdict"] = "fail"
    (change,) = whole(earlier=json.loads(json.dumps(before))).earlier
    assert (change.before, change.verdict_before) == (0.5, "fail")
    assert change.after != 0.5


def test_dropping_a_contrast_concept_moves_who_is_acted_on_not_how_many():
    found = whole()
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


def test_what_is_not_known_is_said():
    found = whole()
    assert any("after review" in one for one in found.not_assessed)

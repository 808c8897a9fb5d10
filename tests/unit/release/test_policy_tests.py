"""Policy tests: every expectation against every outcome, known gaps, made content, and reports that machines read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from moderation.compiler.degenerate import KINDS, degenerate
from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.item import JUDGED, ContentItem, Modality
from moderation.release.policy_tests import Status, TestReport, count_items, prepare, run_tests
from moderation.release.suite import Expectation, Suite
from tests.policy_text import ACTIONS

Rule = Callable[[ContentItem], Outcome]


class FakePipeline:
    """Decides by a rule, beside a second policy that no test may mistake for the first."""

    def __init__(self, rule: Rule, *, error: str = "unsupported_input") -> None:
        self.rule, self.error, self.batches = rule, error, []

    def decide(self, items: Sequence[ContentItem]) -> list[Decision]:
        self.batches.append(len(items))
        return [self.one(item) for item in items]

    def one(self, item: ContentItem) -> Decision:
        outcome = self.rule(item)
        failed = outcome is Outcome.ERROR
        verdict = Verdict(
            "weapons", "1.0.0", "rev", "draft", outcome, Severity.HIGH, score=None if failed else 0.25, threshold=0.5,
            error=self.error if failed else None,
        )  # fmt: skip
        other = Verdict("other", "1.0.0", "rev2", "draft", Outcome.MATCH, Severity.HIGH)
        return Decision(item.id, "d", "allow", Severity.HIGH, "allow", (other, verdict), {})


def by_text(item: ContentItem) -> Outcome:
    return Outcome(item.parts[0].content.decode())


def suite(**content: object) -> Suite:
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    return Suite.model_validate({"suite": "weapons", **lists})


def case(expect: str, found: str, id_: str = "one") -> dict[str, object]:
    return {"id": id_, "item": {"text": found}, "expect": expect}


def run(content: Suite, rule: Rule = by_text, **options: str) -> TestReport:
    prepared = prepare([content], [Modality.IMAGE], ACTIONS)
    return run_tests("weapons", prepared, FakePipeline(rule, **options))


HOLDS = {
    "no_match": {"no_match"},
    "review": {"review"},
    "match": {"match"},
    "error": {"error"},
    "at_least review": {"review", "match"},
    "at_most review": {"no_match", "review"},
    "no_match or error": {"no_match", "error"},
}


def test_every_expectation_is_listed_here() -> None:
    assert set(HOLDS) == set(Expectation)


@pytest.mark.parametrize("found", list(Outcome))
@pytest.mark.parametrize("expect", list(HOLDS))
def test_an_expectation_holds_for_its_outcomes_and_no_other(expect: str, found: str) -> None:
    (result,) = run(suite(cases=[case(expect, found)])).results
    assert (result.status is Status.PASSED) == (found in HOLDS[expect])
    assert (result.expected, result.found) == (expect, found)


def test_a_failure_says_what_was_found_and_how_near_it_was() -> None:
    report = run(suite(cases=[case("match", "no_match")]))
    assert not report.passed
    assert report.results[0].message == "expected match, found no_match (score 0.2500, threshold 0.5000)"


def test_one_failure_among_many_fails_the_report() -> None:
    cases = [case("match", "match", f"good-{n}") for n in range(200)]
    report = run(suite(cases=[*cases, case("match", "review", "bad")]))
    assert [result.id for result in report.results if result.status is Status.FAILED] == ["bad"]
    assert not report.passed


def test_no_tests_is_not_a_pass() -> None:
    assert not TestReport("weapons", "rev", ()).passed


def test_a_pair_needs_both_sides() -> None:
    def pair(a: str, b: str) -> Status:
        sides = {"a": {"text": a}, "b": {"text": b}, "a_expect": "match", "b_expect": "no_match"}
        return run(suite(pairs=[{"id": "swap", **sides}])).results[0].status

    assert pair("match", "no_match") is Status.PASSED
    assert pair("match", "match") is Status.FAILED
    assert pair("no_match", "no_match") is Status.FAILED


@pytest.mark.parametrize(
    ("found", "status", "passed"),
    [("no_match", "todo", True), ("match", "promote", True), ("error", "failed", False)],
)
def test_a_known_gap_fails_quietly_passes_loudly_and_must_be_judged(found: str, status: str, *, passed: bool) -> None:
    report = run(suite(cases=[case("match", "match")], todo=[case("match", found, "gap")]))
    assert report.results[1].status == status
    assert report.passed is passed


def test_made_content_must_never_be_flagged() -> None:
    content = suite(degenerate=["blank", "noise", "corrupt"])
    for outcome in Outcome:
        report = run(content, lambda _item, outcome=outcome: outcome)
        assert len(report.results) == 9
        assert report.passed == (outcome in (Outcome.NO_MATCH, Outcome.ERROR))


def test_a_policy_without_thresholds_passes_nothing() -> None:
    content = suite(cases=[case("error", "error")], degenerate=["blank"])
    report = run(content, lambda _item: Outcome.ERROR, error="uncertified")
    assert report.count(Status.FAILED) == len(report.results) == 4


def test_items_are_judged_in_batches_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("match")
    content = suite(cases=[case("match", f"match {n}", f"n-{n}") for n in range(150)], degenerate=["blank"])
    pipeline, told = FakePipeline(lambda _item: Outcome.MATCH), []
    run_tests("weapons", prepare([content], list(JUDGED), ACTIONS), pipeline, advance=told.append)
    assert pipeline.batches == told == [64, 64, 27]


def test_the_same_content_is_judged_once() -> None:
    content = suite(cases=[case("match", "match", f"n-{n}") for n in range(150)])
    pipeline = FakePipeline(by_text)
    report = run_tests("weapons", prepare([content], [Modality.TEXT], ACTIONS), pipeline)
    assert sum(pipeline.batches) == 1
    assert report.count(Status.PASSED) == 150


def test_what_there_is_to_judge_is_counted() -> None:
    content = suite(cases=[case("match", "match", f"n-{n}") for n in range(150)], degenerate=["blank"])
    assert count_items(prepare([content], list(JUDGED), ACTIONS)) == 155


def test_the_report_is_plain_values_with_stable_keys() -> None:
    report = run(suite(cases=[case("match", "match")], todo=[case("match", "no_match", "gap")]))
    plain = json.loads(json.dumps(report.to_dict()))
    assert list(plain) == ["schema", "policy", "revision", "passed", "counts", "results"]
    assert plain["counts"] == {"passed": 1, "failed": 0, "todo": 1, "promote": 0}
    assert (plain["revision"], plain["results"][0]["status"]) == ("rev", "passed")


def test_junit_counts_a_known_gap_as_skipped_never_as_passed() -> None:
    todo = [case("match", "no_match", "gap"), case("match", "match", "found")]
    report = run(suite(cases=[case("match", "match"), case("match", "review", "bad")], todo=todo))
    root = ET.fromstring(report.to_junit())  # noqa: S314 - our own
    (one,) = root.findall("testsuite")
    assert {k: one.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "0", "skipped": "1",
    }  # fmt: skip
    children = {case.get("name"): [child.tag for child in case] for case in one}
    assert children == {
        "case: one": [],
        "case: bad": ["failure"],
        "todo: gap": ["skipped"],
        "todo: found": ["system-out"],
    }


@pytest.mark.parametrize("modality", list(JUDGED))
@pytest.mark.parametrize("kind", KINDS)
def test_made_content_is_the_same_every_time_and_its_names_differ(kind: str, modality: Modality) -> None:
    parts = list(degenerate(kind, modality))
    assert parts == list(degenerate(kind, modality))
    assert all(part.modality is modality and part.name for part in parts)
    assert len({part.name for part in parts}) == len({part.content for part in parts}) == len(parts)


@pytest.mark.parametrize("kind", ["blank", "noise"])
def test_made_pictures_are_pictures(kind: str) -> None:
    import io

    from PIL import Image

    for part in degenerate(kind, Modality.IMAGE):
        with Image.open(io.BytesIO(part.content)) as picture:
            picture.load()
            assert picture.size == (64, 64)

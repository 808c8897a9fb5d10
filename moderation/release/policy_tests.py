"""A policy's tests, run through the pipeline that decides everything else; what is skipped is never called passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from xml.etree import ElementTree as ET  # written here, never read

from moderation.compiler.degenerate import degenerate
from moderation.decision import Decision, Outcome, Verdict
from moderation.item import ContentItem, Modality
from moderation.release.suite import Case, Expectation, Pair, Suite

BATCH = 64
UNCERTIFIED = "uncertified"
REPORT_SCHEMA = "policy-tests-report/v1"


class Decider(Protocol):
    """What tests need of the pipeline."""

    def decide(self, items: Sequence[ContentItem]) -> Sequence[Decision]:
        """One decision for each item, in order."""
        ...


class Status(StrEnum):
    """How one test went. A known gap (`todo`) still fails; `promote` is one that has begun to pass."""

    PASSED = "passed"
    FAILED = "failed"
    KNOWN_GAP = "todo"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test: what was expected, what was found, and the evidence behind it."""

    __test__ = False

    suite: str
    id: str
    kind: str
    status: Status
    expected: str
    found: str
    score: float | None
    threshold: float | None
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, ready for JSON."""
        return {name: getattr(self, name) for name in type(self).__slots__} | {"status": self.status.value}


@dataclass(frozen=True, slots=True)
class TestReport:
    """All results of one policy's tests, in the files' order."""

    __test__ = False

    policy: str
    revision: str
    results: tuple[TestResult, ...]

    @property
    def passed(self) -> bool:
        """Whether there were tests and none failed."""
        return bool(self.results) and self.count(Status.FAILED) == 0

    def count(self, status: Status) -> int:
        """How many tests ended in `status`."""
        return sum(result.status is status for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, ready for JSON; keys are stable."""
        return {
            "schema": REPORT_SCHEMA,
            "policy": self.policy,
            "revision": self.revision,
            "passed": self.passed,
            "counts": {status.value: self.count(status) for status in Status},
            "results": [result.to_dict() for result in self.results],
        }

    def to_junit(self) -> str:
        """The report as JUnit XML; a known gap is `skipped` there, so that no reader counts it as passed."""
        root = ET.Element("testsuites")
        for name in dict.fromkeys(result.suite for result in self.results):
            results = [result for result in self.results if result.suite == name]
            failures = sum(result.status is Status.FAILED for result in results)
            skipped = sum(result.status is Status.KNOWN_GAP for result in results)
            counts = {"tests": len(results), "failures": failures, "errors": 0, "skipped": skipped}
            suite = ET.SubElement(root, "testsuite", {"name": name} | {k: str(v) for k, v in counts.items()})
            for result in results:
                _junit_case(suite, self.policy, result)
        ET.indent(root)
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ET.Element, policy: str, result: TestResult) -> None:
    name = f"{result.kind}: {result.id}"
    case = ET.SubElement(suite, "testcase", classname=f"{policy}.{result.suite}", name=name)
    if result.status is Status.FAILED:
        ET.SubElement(case, "failure", message=result.message)
    elif result.status is Status.KNOWN_GAP:
        ET.SubElement(case, "skipped", message=f"known gap: {result.message}")
    elif result.status is Status.PROMOTE:
        ET.SubElement(case, "system-out").text = result.message


@dataclass(frozen=True, slots=True)
class _Check:
    """One item and what is expected of it."""

    item: ContentItem
    expect: Expectation


@dataclass(frozen=True, slots=True)
class _Test:
    suite: str
    id: str
    kind: str
    checks: tuple[_Check, ...]


def count_items(suites: Sequence[Suite], modalities: Sequence[Modality]) -> int:
    """How many items the tests judge: the total for a progress bar."""
    return sum(len(test.checks) for suite in suites for test in _tests(suite, modalities))


def run_tests(
    policy: str,
    suites: Sequence[Suite],
    pipeline: Decider,
    *,
    modalities: Sequence[Modality],
    advance: Callable[[int], None] = lambda _count: None,
) -> TestReport:
    """Judge every item of the suites by the pipeline, in batches, and hold each verdict against its expectation.

    `modalities` are the policy's: degenerate content is made in each. `advance` is told how many items are done more.
    """
    tests = [test for suite in suites for test in _tests(suite, modalities)]
    checks = [check for test in tests for check in test.checks]
    verdicts: list[Verdict | None] = []
    for start in range(0, len(checks), BATCH):
        batch = checks[start : start + BATCH]
        decisions = pipeline.decide([check.item for check in batch])
        verdicts += [_verdict(policy, decision) for decision in decisions]
        advance(len(batch))
    found = iter(verdicts)
    results = tuple(_result(test, [next(found) for _ in test.checks]) for test in tests)
    revision = next((verdict.revision for verdict in verdicts if verdict), "")
    return TestReport(policy, revision, results)


def _verdict(policy: str, decision: Decision) -> Verdict | None:
    """The policy's verdict; none where the item has nothing in its scope."""
    return next((verdict for verdict in decision.verdicts if verdict.policy == policy), None)


def _tests(suite: Suite, modalities: Sequence[Modality]) -> Iterator[_Test]:
    for case in suite.cases:
        yield _case(suite, case, "case")
    for pair in suite.pairs:
        yield _pair(suite, pair)
    for kind in suite.degenerate:
        for modality in modalities:
            for part in degenerate(kind, modality):
                one = f"{kind}-{modality}-{part.name}"
                check = _Check(ContentItem(one, (part,)), Expectation.NOTHING)
                yield _Test(suite.suite, one, "degenerate", (check,))
    for case in suite.todo:
        yield _case(suite, case, "todo")


def _case(suite: Suite, case: Case, kind: str) -> _Test:
    return _Test(suite.suite, case.id, kind, (_Check(suite.read(case.item, id=case.id), case.expect),))


def _pair(suite: Suite, pair: Pair) -> _Test:
    a = _Check(suite.read(pair.a, id=f"{pair.id}/a"), pair.a_expect)
    b = _Check(suite.read(pair.b, id=f"{pair.id}/b"), pair.b_expect)
    return _Test(suite.suite, pair.id, "pair", (a, b))


def _result(test: _Test, verdicts: Sequence[Verdict | None]) -> TestResult:
    pairs = list(zip(test.checks, verdicts, strict=True))
    misses = [_miss(check.expect, verdict) for check, verdict in pairs if not _holds(check.expect, verdict)]
    status, message = Status.PASSED, "; ".join(misses)
    if test.kind == "todo" and not misses:
        status, message = Status.PROMOTE, "this known gap passes now: move it from 'todo' to 'cases'"
    elif misses:
        # A gap that could not even be judged is not known to be a gap.
        judged = all(verdict and verdict.outcome is not Outcome.ERROR for verdict in verdicts)
        status = Status.KNOWN_GAP if test.kind == "todo" and judged else Status.FAILED
    alone = verdicts[0] if len(verdicts) == 1 else None
    return TestResult(
        suite=test.suite,
        id=test.id,
        kind=test.kind,
        status=status,
        expected=" / ".join(check.expect.value for check in test.checks),
        found=" / ".join(verdict.outcome.value if verdict else "out of scope" for verdict in verdicts),
        score=alone.score if alone else None,
        threshold=alone.threshold if alone else None,
        message=message,
    )


def _holds(expected: Expectation, verdict: Verdict | None) -> bool:
    # A policy without thresholds errs on everything: that must not pass for a right answer to broken content.
    return verdict is not None and expected.holds(verdict.outcome) and verdict.error != UNCERTIFIED


def _miss(expected: Expectation, found: Verdict | None) -> str:
    if found is None:
        return f"expected {expected.value}, but the item is not in the policy's scope"
    if found.outcome is Outcome.ERROR:
        return f"expected {expected.value}, found error: {found.error}"
    score = "no score" if found.score is None else f"score {found.score:.4f}"
    cut = "" if found.threshold is None else f", threshold {found.threshold:.4f}"
    concept = f", nearest to {found.concept!r}" if found.concept else ""
    return f"expected {expected.value}, found {found.outcome.value} ({score}{cut}{concept})"

"""A policy's tests, run through the pipeline that decides everything else; what is skipped is never called passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from xml.etree import ElementTree as ET  # written here, never read

from moderation.decision import Decision, Verdict
from moderation.item import ContentItem, Modality
from moderation.policy.lock import Lock
from moderation.release.certification import refuse_used
from moderation.release.set_trials import counted_rows
from moderation.release.suite import Suite
from moderation.release.trial import FLAGGED, Answer, Trial, Verdicts
from moderation.release.trials import trials

BATCH = 64
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
    """One test: what was expected, what was found, and the evidence behind it.

    `covers` is what its author says it is about; `phrases` and `actions` are those of the items that it flagged, `groups` the values
    of attributes among its items: what coverage counts.
    """

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
    covers: tuple[str, ...] = ()
    phrases: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, ready for JSON."""
        told = ("suite", "id", "kind", "expected", "found", "score", "threshold", "message")
        return {name: getattr(self, name) for name in told} | {"status": self.status.value, "covers": list(self.covers)}


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


def prepare(
    suites: Sequence[Suite], modalities: Sequence[Modality], order: Sequence[str], *, lock: Lock | None = None
) -> tuple[Trial, ...]:
    """The tests of these files, ready to run: degenerate content in each of the policy's modalities, actions in `order` of force.

    Raises DataError where a manifest cannot be read, and where a test would bound a share by items that the `lock` was made from.
    """
    if lock is not None:
        for suite in suites:
            refuse_used(lock, counted_rows(suite), what="test")
    return tuple(trial for suite in suites for trial in trials(suite, modalities, order))


def count_items(prepared: Sequence[Trial]) -> int:
    """How many items the tests judge: the total for a progress bar."""
    return sum(len(trial.items) * max(len(trial.batches), 1) for trial in prepared)


def run_tests(
    policy: str,
    prepared: Sequence[Trial],
    pipeline: Decider,
    *,
    anew: Callable[[], Decider] | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> TestReport:
    """Judge every item by the pipeline, in batches, and hold the verdicts against what each test expects.

    The same content is judged once, but where stability is tested: there `anew` makes the same pipeline with an empty cache (without
    it, `pipeline` itself is asked again). `advance` is told how many items are done more.
    """
    judge = _Judge(policy, pipeline, advance)
    usual = judge.all([item for trial in prepared if not trial.batches for item in trial.items])
    results, revision = [], ""
    for trial in prepared:
        if trial.batches:
            verdicts: Verdicts = _Judge(policy, anew() if anew else pipeline, advance).in_batches(trial)
        else:
            verdicts = [next(usual) for _ in trial.items]
        revision = revision or next((one.revision for one in verdicts if one), "")
        results.append(_result(trial, trial.answer(verdicts), verdicts))
    return TestReport(policy, revision, tuple(results))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judges items by one pipeline."""

    policy: str
    pipeline: Decider
    advance: Callable[[int], None]

    def all(self, items: Sequence[Callable[[], ContentItem]]) -> Iterator[Verdict | None]:
        """The verdict on each item, in order; what was judged before is not judged again."""
        known: dict[tuple[object, ...], Verdict | None] = {}
        for start in range(0, len(items), BATCH):
            batch = [read() for read in items[start : start + BATCH]]
            keys = [_key(item) for item in batch]
            new = {key: item for key, item in zip(keys, batch, strict=True) if key not in known}
            known.update(zip(new, self._decide(list(new.values())), strict=True))
            self.advance(len(batch))
            yield from (known[key] for key in keys)

    def in_batches(self, trial: Trial) -> list[Verdict | None]:
        """The verdicts on a trial's items in batches of each of its sizes."""
        items = [read() for read in trial.items]
        found: list[Verdict | None] = []
        for size in trial.batches:
            for start in range(0, len(items), size):
                found += self._decide(items[start : start + size])
            self.advance(len(items))
        return found

    def _decide(self, items: Sequence[ContentItem]) -> list[Verdict | None]:
        decisions = self.pipeline.decide(items) if items else []
        return [next((one for one in each.verdicts if one.policy == self.policy), None) for each in decisions]


def _key(item: ContentItem) -> tuple[object, ...]:
    parts = tuple((part.modality, part.digest, part.name) for part in item.parts)
    return parts, tuple(sorted(item.attributes.items()))


def _result(trial: Trial, answer: Answer, verdicts: Verdicts) -> TestResult:
    status, message = Status.PASSED, answer.message
    if trial.kind == "todo" and answer.holds:
        status, message = Status.PROMOTE, "this known gap passes now: move it from 'todo' to 'cases'"
    elif not answer.holds:
        # A gap that could not even be judged is not known to be a gap.
        status = Status.KNOWN_GAP if trial.kind == "todo" and not answer.unjudged else Status.FAILED
    flagged = [one for one in verdicts if one is not None and one.outcome in FLAGGED]
    return TestResult(
        suite=trial.suite,
        id=trial.id,
        kind=trial.kind,
        status=status,
        expected=answer.expected,
        found=answer.found,
        score=answer.score,
        threshold=answer.threshold,
        message=message,
        covers=trial.covers,
        phrases=frozenset(one.concept for one in flagged if one.concept),
        actions=frozenset(one.action for one in flagged if one.action),
        groups=trial.groups,
    )

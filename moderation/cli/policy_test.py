"""What `moderation policy test` does: the policy's test files through the pipeline, their results and what they cover told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from moderation import assemble
from moderation.cli import lock_words, terminal
from moderation.cli.locks import TESTS_SUFFIX, beside, command, current_lock, lock_file
from moderation.cli.policy_release import next_step
from moderation.embedding.embedder import Embedder
from moderation.errors import ExitCode
from moderation.pipeline import Pipeline
from moderation.policy.inputs import digest_inputs
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.release.coverage import Coverage, Share, measure_coverage
from moderation.release.policy_tests import Status, TestReport, count_items, prepare, run_tests
from moderation.release.suite import Suite
from moderation.release.suite_file import load_suites
from moderation.settings import Settings, load_settings

_WORDS = {"passed": "passed", "failed": "FAILED", "todo": "known gap", "promote": "passes now"}


def test(path: Path, *, out: Path | None, as_json: bool, junit: Path | None, strict: bool, min_coverage: float) -> None:
    """Run a policy's tests; leaves with exit code 6 when one fails, or less than `min_coverage` of something is covered."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    suites = load_suites(policy.tests, policy=policy)
    inputs = inputs_of(policy, suites)
    lock, file = current_lock(policy, out), lock_file(policy, out)
    prepared = prepare(suites, policy.scope.modalities, settings.actions, lock=lock)
    embedders: dict[str, Embedder] = {}
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, [file], embedders=embedders)
    with terminal.progress("testing", count_items(prepared)) as advance:
        report = run_tests(
            policy.id, prepared, pipeline, anew=lambda: _anew(settings, file, embedders), advance=advance
        )
    coverage = measure_coverage(policy, report, audited=audited(policy))
    if junit:
        with terminal.replacing(junit) as stream:
            stream.write(report.to_junit())
    told = write_report(report, coverage, file, inputs=inputs, strict=strict, min_coverage=min_coverage)
    if as_json:
        terminal.emit(told)
    else:
        certified = any(action.threshold is not None for action in lock.actions)
        if not certified:
            step = lock_words.to_certify(lock, path, out)
            terminal.say(f"{lock_words.UNCERTIFIED}, so that no test can pass; {step}")
        _print(report, certified=certified)
        if certified:  # else no test can pass, and what those that are there cover would read as if they were not
            _print_coverage(coverage)
    if not told["passed"]:
        raise typer.Exit(ExitCode.TESTS_FAILED)
    if not as_json:
        audit = command("audit", path, out=out) if policy.audit else ""
        terminal.say(f"next: {audit or next_step(policy, lock, path, out, to='shadow')}")


def inputs_of(policy: Policy, suites: Sequence[Suite]) -> dict[str, str]:
    """The files that the tests are made of, by SHA-256."""
    return digest_inputs((path for suite in suites for path in suite.inputs), policy.path.parent)


def write_report(
    report: TestReport,
    coverage: Coverage,
    lock: Path,
    *,
    inputs: Mapping[str, str],
    strict: bool = False,
    min_coverage: float = 0.0,
) -> dict[str, Any]:
    """The report as plain values, left beside the lock: what a release asks for.

    It passed where no test failed, no gap closed unnoticed (`strict`), and enough of everything is covered.
    """
    closed = strict and report.count(Status.PROMOTE) > 0
    told = {
        **report.to_dict(),
        "passed": report.passed and not closed and coverage.least >= min_coverage,
        "asked": {"strict": strict, "min_coverage": min_coverage},
        "inputs": dict(inputs),
        "coverage": coverage.to_dict(),
    }
    with terminal.replacing(beside(lock, TESTS_SUFFIX)) as stream:
        stream.write(json.dumps(told, indent=1) + "\n")
    return told


def _anew(settings: Settings, lock: Path, embedders: Mapping[str, Embedder]) -> Pipeline:
    """The same pipeline with nothing remembered: every item is encoded again."""
    forgetful = settings.model_copy(update={"cache": settings.cache.model_copy(update={"max_bytes": 0})})
    fresh = {name: assemble.remembering(one.encoder, forgetful) for name, one in embedders.items()}
    return assemble.pipeline(forgetful, [lock], embedders=fresh)


def audited(policy: Policy) -> dict[str, set[str]]:
    """The groups that the policy's audit tells apart, as its manifest names them; none without both."""
    if policy.audit is None or policy.data.audit is None:
        return {}
    wanted, found = {one.name for one in policy.audit.attributes}, defaultdict(set)
    for row in load_manifest(policy.data.audit, check_files=False):
        for name in wanted & set(row.attributes):
            found[name].add(row.attributes[name])
    return dict(found)


def _print(report: TestReport, *, certified: bool) -> None:
    for result in report.results:
        if result.status.value != "passed" and certified:
            terminal.say(f"{_WORDS[result.status.value]}: {result.suite}/{result.id}: {result.message}")
    counts = report.to_dict()["counts"]
    told = ", ".join(f"{counts[status]} {word.lower()}" for status, word in _WORDS.items() if counts[status])
    kinds = Counter(result.kind for result in report.results)
    made = ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items()) if len(kinds) > 1 else ""
    terminal.say(f"policy {report.policy!r}, revision {report.revision}: {told}" + (f" ({made})" if made else ""))


def _print_coverage(coverage: Coverage) -> None:
    for one in coverage.shares:
        every = len(one.covered) + len(one.missing)
        if every:
            missing = f"; nothing tests {', '.join(one.missing)}{_how(one)}" if one.missing else ""
            terminal.say(f"  {one.kind}: {len(one.covered)} of {every} covered{missing}")


def _how(share: Share) -> str:
    """How a test says that it is about a concept or a clause; what flags an item for its phrase covers that concept without a word."""
    return f" (write `covers: [{share.missing[0]}]` on a case)" if share.kind in {"concepts", "clauses"} else ""

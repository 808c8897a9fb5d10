"""What `moderation policy test` does: the policy's test files through the pipeline, and their results told."""

from __future__ import annotations

from pathlib import Path

import typer

from moderation import assemble
from moderation.cli import lock_words, terminal
from moderation.cli.locks import current_lock, lock_file
from moderation.errors import ExitCode
from moderation.policy.loader import load_policy
from moderation.release.policy_tests import TestReport, count_items, run_tests
from moderation.release.suite import load_suites
from moderation.settings import load_settings

_WORDS = {"passed": "passed", "failed": "FAILED", "todo": "known gap", "promote": "passes now"}


def test(path: Path, *, out: Path | None, as_json: bool, junit: Path | None) -> None:
    """Run a policy's tests; leaves with exit code 6 when one fails."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    suites = load_suites(policy.tests)
    lock = current_lock(policy, out)
    modalities = policy.scope.modalities
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, [lock_file(policy, out)])
    with terminal.progress("testing", count_items(suites, modalities)) as advance:
        report = run_tests(policy.id, suites, pipeline, modalities=modalities, advance=advance)
    if junit:
        with terminal.replacing(junit) as stream:
            stream.write(report.to_junit())
    if as_json:
        terminal.emit(report.to_dict())
    else:
        _print(report, path, certified=any(action.threshold is not None for action in lock.actions))
    if not report.passed:
        raise typer.Exit(ExitCode.TESTS_FAILED)


def _print(report: TestReport, path: Path, *, certified: bool) -> None:
    if not certified:
        terminal.say(f"{lock_words.UNCERTIFIED}; no test can pass before: moderation policy certify {path}")
    for result in report.results:
        if result.status.value != "passed" and certified:
            terminal.say(f"{_WORDS[result.status.value]}: {result.suite}/{result.id}: {result.message}")
    counts = report.to_dict()["counts"]
    told = ", ".join(f"{counts[status]} {word.lower()}" for status, word in _WORDS.items() if counts[status])
    terminal.say(f"policy {report.policy!r}, revision {report.revision}: {told}")

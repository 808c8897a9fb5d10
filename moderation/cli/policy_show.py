"""What `moderation policy show` tells: the policy as resolved, its lock, and what the two will do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moderation.cli import band_words, lock_words, terminal
from moderation.cli.locks import AUDIT_SUFFIX, TESTS_SUFFIX, command, lock_file, report_beside
from moderation.errors import DataError
from moderation.policy.bands import bands
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock, read_lock
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.release.record import Change, read_record, record_path, status_beside
from moderation.release.suite_file import load_suites
from moderation.settings import load_settings

UNSOUND = "missing or not sound: moderation policy lint tells"
_PARTS = {
    "cases": "case",
    "pairs": "pair",
    "directions": "direction",
    "invariance": "invariance",
    "capabilities": "capability",
    "benign": "benign set",
    "groups": "parity of groups",
    "stability": "stability",
    "degenerate": "degenerate kind",
    "todo": "known gap",
}


def show(path: Path, *, out: Path | None, as_json: bool) -> None:
    """Tell everything about one policy and its lock, where there is one."""
    order = load_settings().actions
    policy = load_policy(path, action_names=order)
    target = lock_file(policy, out)
    lock = read_lock(target) if target.exists() else None
    if as_json:
        told = policy.resolved()
        summary = None if lock is None else lock_words.as_plain(lock, target, order=order)
        state = {
            "lock": summary,
            "lock_is": _state(policy, lock),
            **({} if lock is None else _beside_lock(policy, lock, target)),
        }
        rests_on = {"tests": _tests(policy), "data": _data(policy)}
        hashed = {"schema": "policy-show/v1", "policy": told, "content_hash": policy.content_hash}
        terminal.emit({**hashed, "rests_on": rests_on, **state})
        return
    again = command("compile", path, out=out)
    for line in (*_policy_lines(policy), *_lock_lines(policy, lock, target, order=order, again=again)):
        terminal.say(line)


def _state(policy: Policy, lock: Lock | None) -> str:
    if lock is None:
        return "missing"
    if lock.policy_hash != policy.content_hash:
        return "stale"
    missing = [action for action in lock.actions if action.threshold is None]
    if len(missing) == len(lock.actions):
        return "uncertified"
    return "partly certified" if missing else "certified"


def _standing(policy: Policy, lock: Lock, path: Path) -> dict[str, str]:
    """The build's status, and what the reports beside its lock say of this very revision."""
    tests, audit = (report_beside(path, suffix) for suffix in (TESTS_SUFFIX, AUDIT_SUFFIX))
    passed = "passed" if tests and tests.get("passed") is True else "failed"
    audited = _of_this(audit, lock, str((audit or {}).get("verdict")))
    return {
        "status": status_beside(lock, path),
        "tests": _of_this(tests, lock, passed),
        "audit": "none is declared" if policy.audit is None and audit is None else audited,
    }


def _beside_lock(policy: Policy, lock: Lock, path: Path) -> dict[str, Any]:
    """The same for machines, with the last change of its status."""
    last = _recorded(lock, path)
    return {**_standing(policy, lock, path), "recorded": asdict(last) if last else None}


def _recorded(lock: Lock, path: Path) -> Change | None:
    """The last change of this build's status."""
    record = read_record(record_path(path))
    return next((one for one in reversed(record.changes) if one.revision == lock.revision), None) if record else None


def _of_this(report: dict[str, Any] | None, lock: Lock, told: str) -> str:
    if report is None:
        return "not run"
    return told if report.get("revision") == lock.revision else f"of another revision ({report.get('revision')})"


def _policy_lines(policy: Policy) -> Iterator[str]:
    scope = policy.scope
    yield f"{policy.id} {policy.version}: {policy.title}"
    yield f"  owner {policy.owner}, review by {policy.review_by}, severity {policy.severity.value}"
    yield f"  judges {', '.join(scope.modalities)}" + (f" on {', '.join(scope.surfaces)}" if scope.surfaces else "")
    for kind, concepts in (("violating", policy.concepts.violating), ("contrast", policy.concepts.contrast)):
        yield f"  {kind}:"
        yield from (f"    {concept.id}: {'; '.join(concept.phrases)}" for concept in concepts)
    prevalence = policy.prevalence
    yield f"  prevalence {prevalence.low:g} to {prevalence.high:g} ({prevalence.source}, n = {prevalence.n})"
    for action in policy.actions:
        promise = action.guarantee
        budget = f", at most {action.budget:.2%} of traffic" if action.budget else ""
        yield (
            f"  promises {action.action} with {promise.metric.value} at least {promise.at_least:g}, "
            f"confidence {promise.confidence:g}{budget}"
        )
    yield f"  on error: {policy.on_error}"
    yield from (f"  {line}" for line in _ground_lines(policy))


def _ground_lines(policy: Policy) -> Iterator[str]:
    """What the policy rests on beside its phrases: other detectors, tests, targets."""
    if policy.detectors:
        yield f"other detectors: {', '.join(policy.detectors)}"
    for path, parts in _tests(policy).items():
        held = [terminal.counted(parts[part], noun) for part, noun in _PARTS.items() if parts[part]] if parts else []
        yield f"tests: {path} ({', '.join(held) or UNSOUND})"
    for use, data in _data(policy).items():
        words = "{violating} violating and {benign} benign targets of {objects} objects"
        yield f"{use}: {data['path']} ({words.format(**data['counts']) if data['counts'] else UNSOUND})"


def _tests(policy: Policy) -> dict[str, dict[str, int] | None]:
    """What each test file holds; None where it cannot be read, or where the files together are not enough."""
    try:
        suites = load_suites(policy.tests)
    except DataError:
        return {str(path): None for path in policy.tests}
    sides = zip(policy.tests, suites, strict=True)
    return {str(path): {part: len(getattr(suite, part)) for part in _PARTS} for path, suite in sides}


def _data(policy: Policy) -> dict[str, dict[str, Any]]:
    """How many targets each manifest of the policy holds; `counts` is None where it cannot be read."""
    manifests = {use: getattr(policy.data, use) for use in ("fit", "certify", "audit")}
    return {use: {"path": str(path), "counts": _counted(path)} for use, path in manifests.items() if path}


def _counted(manifest: Path) -> dict[str, int] | None:
    try:
        rows = load_manifest(manifest, check_files=False)
    except DataError:
        return None
    violating = sum(row.target for row in rows)
    return {
        "violating": violating,
        "benign": len(rows) - violating,
        "objects": len({row.cluster for row in rows}),
    }


def _lock_lines(policy: Policy, lock: Lock | None, path: Path, *, order: Sequence[str], again: str) -> Iterator[str]:
    if lock is None:
        yield f"no lock at {path}; run: {again}"
        return
    yield f"lock {path}, revision {lock.revision}: {_state(policy, lock)}"
    if lock.policy_hash != policy.content_hash:
        yield f"  the policy changed since it was compiled: compile and certify it again: {again}"
    yield "  " + "; ".join(f"{name}: {told}" for name, told in _standing(policy, lock, path).items())
    if last := _recorded(lock, path):
        yield f"  {last.status} since {last.date}, by {last.by}" + (
            f", on record: {last.reason}" if last.reason else ""
        )
    yield f"  level {lock.level}, encoder {lock.encoder_identity}/{lock.encoder_numeric}"
    yield from (f"  {line}" for line in lock_words.readers(lock))
    if _state(policy, lock) == "uncertified":
        yield f"  {lock_words.UNCERTIFIED}"
    for action in lock.actions:
        yield f"  {lock_words.promise(action)}"
        yield from (f"    {line}" for line in band_words.trade_off(action))
    found = bands(lock.actions, order)
    told = (
        band_words.bands(found),
        band_words.shares(found, lock.actions, policy.prevalence),
        band_words.calibration(lock),
    )
    yield from (f"  {line}" for line in itertools.chain(*told))
    yield from (f"  {line}" for line in lock_words.compiled(lock.evidence))
    yield from (f"  {line}" for line in lock_words.certified(lock.evidence))

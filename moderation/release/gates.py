"""What stands between a build of a policy and a status: each gate is evidence about this very revision, or the command that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moderation.decision import LIVE
from moderation.policy.lint import Finding
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy
from moderation.release.record import Status

ERROR = "error"
AUDIT_FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a build: lint findings on its policy, and the reports of tests and audit as they lie beside the lock (or None)."""

    findings: Iterable[Finding]
    tests: Mapping[str, Any] | None
    audit: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Missing:
    """One gate that is shut: why, and the command that may open it."""

    gate: str
    why: str
    command: str


def shut_gates(
    policy: Policy, lock: Lock, evidence: Evidence, to: Status, *, no_audit_reason: str = ""
) -> list[Missing]:
    """Every gate that is shut on the way to a status, all at once; none for `deprecated`.

    `shadow` takes a clean lint and a certified lock. `live` also takes tests that pass and, where the policy declares one, an audit that
    does not fail and whose required harms pass, each on this very revision; a policy without an audit goes live only for a stated reason.
    """
    if to == "deprecated":
        return []
    file = policy.path
    missing = [
        Missing("lint", f"{one.code} at line {one.line}: {one.message}", f"moderation policy lint {file}")
        for one in evidence.findings
        if one.severity == ERROR
    ]
    missing += [
        Missing(
            "certify",
            f"{one.action}: {one.metric} at least {one.at_least:g} is not certified",
            f"moderation policy certify {file}",
        )
        for one in lock.actions
        if one.threshold is None
    ]
    if to == LIVE:
        missing += [*_tests(evidence.tests, lock, f"moderation policy test {file}")]
        missing += [*_audit(policy, evidence.audit, lock, no_audit_reason=no_audit_reason)]
    return missing


def _tests(report: Mapping[str, Any] | None, lock: Lock, command: str) -> list[Missing]:
    if report is None:
        return [Missing("test", "no report of the policy's tests lies beside the lock", command)]
    if report.get("revision") != lock.revision:
        why = f"the report is of revision {report.get('revision')}, the lock is {lock.revision}"
        return [Missing("test", why, command)]
    return [] if report.get("passed") is True else [Missing("test", "the policy's tests fail", command)]


def _audit(policy: Policy, report: Mapping[str, Any] | None, lock: Lock, *, no_audit_reason: str) -> list[Missing]:
    command = f"moderation policy audit {policy.path}"
    if policy.audit is None:
        why = "the policy declares no audit: declare one, or say why there is none (--no-audit-reason)"
        return [] if no_audit_reason.strip() else [Missing("audit", why, command)]
    if report is None:
        return [Missing("audit", "no audit lies beside the lock", command)]
    if report.get("revision") != lock.revision:
        why = f"the audit is of revision {report.get('revision')}, the lock is {lock.revision}"
        return [Missing("audit", why, command)]
    return [
        Missing("audit", f"{one.get('name')} by {one.get('attribute')}: {one.get('verdict')}", command)
        for one in report.get("harms", ())
        if one.get("verdict") == AUDIT_FAIL or (one.get("required") and one.get("verdict") != "pass")
    ]

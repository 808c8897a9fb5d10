"""What stands between a build of a policy and a status: each gate is evidence about this very revision, or the command that makes it.

Absence is never evidence: a promise without a certificate, a harm that a report does not speak of, a file that reads otherwise than when
the evidence was made, each shuts its gate.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.audit.earlier import SCHEMA as AUDIT_SCHEMA
from moderation.audit.gaps import Verdict
from moderation.decision import LIVE
from moderation.policy.inputs import changed_inputs, input_name
from moderation.policy.lint import Finding
from moderation.policy.lock import Lock, LockedAction
from moderation.policy.schema import Policy, PolicyAction
from moderation.release.policy_tests import REPORT_SCHEMA
from moderation.release.record import Status

ERROR = "error"
_OF_NO_BUILD = ("lint", "plan")  # these commands read the policy alone


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a build: lint findings on its policy, and the reports of tests and audit as they lie beside the lock (or None)."""

    findings: Iterable[Finding]
    tests: Mapping[str, Any] | None
    audit: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Missing:
    """One gate that is shut: why, and the command that may open it, or tells what would; `of_a_build` where it takes a build folder (`--out`)."""

    gate: str
    why: str
    command: str
    of_a_build: bool


def shut_gates(
    policy: Policy, lock: Lock, evidence: Evidence, to: Status, *, no_audit_reason: str = ""
) -> list[Missing]:
    """Every gate that is shut on the way to a status, all at once; none for `deprecated`.

    `shadow` takes a clean lint, and a lock whose every promise is certified on the targets as they read now. `live` also takes tests that
    pass and, where the policy declares one, an audit that does not fail and whose required harms pass, each on this very revision and
    these very files; a policy without an audit goes live only for a stated reason.
    """
    if to == "deprecated":
        return []
    short = _short(policy, lock)
    gates = [
        ("lint", "lint", _lint(evidence.findings)),
        ("compile", "compile", _compiled(policy, lock)),
        ("certify", "certify", _kept(policy, lock, short)),
        ("certify", "plan", (f"{_named(one)} takes more targets, or a lower promise" for one in short)),
    ]
    if to == LIVE:
        gates += [
            ("test", "test", _tests(policy, evidence.tests, lock)),
            ("audit", "audit", _audit(policy, evidence.audit, lock, no_audit_reason=no_audit_reason)),
        ]
    return [
        Missing(gate, why, _command(step, policy), step not in _OF_NO_BUILD)
        for gate, step, found in gates
        for why in found
    ]


def _command(step: str, policy: Policy) -> str:
    path = shlex.quote(str(policy.path))
    if step == "audit" and policy.audit is None:
        return f"moderation policy release {path} --to {LIVE} --by TEAM --no-audit-reason 'why there is none'"
    return f"moderation policy {step} {path}"


def _lint(findings: Iterable[Finding]) -> Iterator[str]:
    for one in findings:
        if one.severity == ERROR:
            yield f"{one.code} at line {one.line}: {one.message}"


def _compiled(policy: Policy, lock: Lock) -> Iterator[str]:
    yield from _stale(lock.evidence.get("background"), policy, [])
    yield from _stale(lock.evidence.get("fit"), policy, [policy.data.fit])
    yield from _stale(lock.evidence.get("exemplars"), policy, [policy.exemplars.violating, policy.exemplars.contrast])


def _short(policy: Policy, lock: Lock) -> list[LockedAction]:
    """The promises that the targets, as they read now, were asked for and cannot show: to certify again would say the same."""
    if not _same_promises(policy, lock) or any(_stale(lock.evidence.get("certify"), policy, [policy.data.certify])):
        return []
    return [one for one in lock.actions if one.threshold is None and one.shortfall is not None]


def _kept(policy: Policy, lock: Lock, short: Sequence[LockedAction]) -> Iterator[str]:
    if not _same_promises(policy, lock):
        yield "the lock's promises are not those of the policy"
    uncertified = [one for one in lock.actions if one.threshold is None or _shown_of(one) != one.threshold]
    yield from (f"{_named(one)} is not certified" for one in uncertified if one not in short)
    if not uncertified:
        yield from _stale(lock.evidence.get("certify"), policy, [policy.data.certify])


def _named(action: LockedAction) -> str:
    return f"{action.action}: {action.metric} at least {action.at_least:g}"


def _same_promises(policy: Policy, lock: Lock) -> bool:
    return [_asked(one) for one in policy.actions] == [_promised(one) for one in lock.actions]


def _shown_of(action: LockedAction) -> Any:
    """The threshold that the certificate speaks of."""
    return (action.certificate or {}).get("threshold")


def _asked(action: PolicyAction) -> tuple[str, str, float, float]:
    promise = action.guarantee
    return action.action, promise.metric.value, promise.at_least, promise.confidence


def _promised(action: LockedAction) -> tuple[str, str, float, float]:
    return action.action, action.metric, action.at_least, action.confidence


def _tests(policy: Policy, report: Mapping[str, Any] | None, lock: Lock) -> Iterator[str]:
    if report is None:
        yield "no report of the policy's tests lies beside the lock"
        return
    yield from _unfit(report, REPORT_SCHEMA, policy, lock, policy.tests)
    if report.get("passed") is not True:
        yield "the policy's tests fail"


def _audit(policy: Policy, report: Mapping[str, Any] | None, lock: Lock, *, no_audit_reason: str) -> Iterator[str]:
    if policy.audit is None:
        if not no_audit_reason.strip():
            yield "the policy declares no audit: declare one, or say why there is none (--no-audit-reason)"
        return
    if report is None:
        yield "no audit lies beside the lock"
        return
    yield from _unfit(report, AUDIT_SCHEMA, policy, lock, [policy.data.audit])
    for one in _list(report.get("failures")):
        day = one.get("date") if isinstance(one, Mapping) else "an unknown day"
        yield f"an audit of this very build failed on {day}, on other items: another sample does not undo that; build another, or audit those items again"
    verdicts = _verdicts(report.get("harms"))
    for harm, attribute in itertools.product(policy.audit.harms, policy.audit.attributes):
        verdict = verdicts.get((harm.name, attribute.name))
        if verdict is None or verdict == Verdict.FAIL or (harm.required and verdict != Verdict.PASS):
            yield f"{harm.name} by {attribute.name}: {verdict or 'the report does not speak of it'}"


def _verdicts(harms: Any) -> dict[tuple[Any, Any], str]:
    """What a report says of each harm in each attribute; entries that no audit writes say nothing."""
    told = [one for one in _list(harms) if isinstance(one, Mapping)]
    known = [one.value for one in Verdict]
    return {
        (str(one.get("name")), str(one.get("attribute"))): str(one["verdict"])
        for one in told
        if one.get("verdict") in known
    }


def _list(found: Any) -> list[Any]:
    """A list as it is, nothing where there is none, and whatever else as one entry."""
    return found if isinstance(found, list) else [] if found is None else [found]


def _unfit(
    report: Mapping[str, Any], schema: str, policy: Policy, lock: Lock, files: Iterable[Path | None]
) -> Iterator[str]:
    """Why a report is no evidence about this very build and these files."""
    if (report.get("schema"), report.get("policy")) != (schema, policy.id):
        yield f"the report is {report.get('schema')} of {report.get('policy')}; expected {schema} of {policy.id}"
    elif report.get("revision") != lock.revision:
        yield f"the report is of revision {report.get('revision')}, the lock is {lock.revision}"
    else:
        yield from _stale(report, policy, files)


def _stale(evidence: Any, policy: Policy, files: Iterable[Path | None]) -> Iterator[str]:
    """Which files evidence no longer speaks of: those that it does not name, and those that read otherwise now."""
    inputs = evidence.get("inputs") if isinstance(evidence, Mapping) else None
    known = {str(name): str(digest) for name, digest in inputs.items()} if isinstance(inputs, Mapping) else {}
    folder = policy.path.parent
    needed = {input_name(one, folder) for one in files if one is not None}
    yield from (f"the evidence does not rest on {name}" for name in sorted(needed - known.keys()))
    yield from (f"{name} reads otherwise than when the evidence was made" for name in changed_inputs(known, folder))

"""What `moderation policy release` does: every gate on this very revision, then one more line in the release record."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import typer

from moderation.audit.gaps import Verdict
from moderation.cli import policy_lint, terminal
from moderation.cli.locks import (
    AUDIT_SUFFIX,
    TESTS_SUFFIX,
    beside,
    command,
    current_lock,
    elsewhere,
    lock_file,
    report_beside,
)
from moderation.decision import LIVE
from moderation.errors import ExitCode, LockError
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy
from moderation.release.gates import Evidence, Missing, shut_gates
from moderation.release.record import Change, Record, Status, encode_record, plain, read_record, record_path
from moderation.settings import Settings, load_settings


def release(
    path: Path, *, to: Status, by: str, reason: str, no_audit_reason: str, out: Path | None, as_json: bool
) -> None:
    """Put a build into a status; leaves with exit code 9 where a gate is shut, and tells all that are."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    lock, file = current_lock(policy, out), lock_file(policy, out)
    found = put(policy, lock, file, settings, to=to, by=by, reason=reason, no_audit_reason=no_audit_reason)
    if not isinstance(found, Record):
        _tell_missing([replace(one, command=_typed(one, out)) for one in found], to, as_json=as_json)
        raise typer.Exit(ExitCode.RELEASE_REFUSED)
    if as_json:
        terminal.emit(plain(found))
    else:
        last = found.changes[-1]
        terminal.say(f"{policy.id} {policy.version}, revision {last.revision}: {to} ({record_path(file)})")
        if last.reason:
            terminal.say(f"  on record: {last.reason}")
        if to == "shadow":
            terminal.say(f"next: {next_step(policy, lock, path, out, to='live')}")


def next_step(policy: Policy, lock: Lock, path: Path, out: Path | None, *, to: Status) -> str:
    """What to type on the way to a status, of a build that lint passed: its release, or what would first stand in its way."""
    file, without = lock_file(policy, out), "" if policy.audit or to != LIVE else "why there is none"
    tests, audit = (report_beside(file, one) if to == LIVE else None for one in (TESTS_SUFFIX, AUDIT_SUFFIX))
    if missing := shut_gates(policy, lock, Evidence((), tests, audit), to, no_audit_reason=without):
        return _typed(missing[0], out)
    return f"{command('release', path, out=out)} --to {to} --by TEAM" + (
        f" --no-audit-reason '{without}'" if without else ""
    )


def _typed(missing: Missing, out: Path | None) -> str:
    return missing.command + (elsewhere(out) if missing.of_a_build else "")


def put(
    policy: Policy,
    lock: Lock,
    file: Path,
    settings: Settings,
    *,
    to: Status,
    by: str,
    reason: str = "",
    no_audit_reason: str = "",
) -> Record | list[Missing]:
    """Put the build whose lock is at `file` into a status: the record as written, or every gate that is shut and nothing written."""
    tests, audit = report_beside(file, TESTS_SUFFIX), report_beside(file, AUDIT_SUFFIX)
    findings = policy_lint.lint_all([policy.path], settings).findings
    missing = shut_gates(policy, lock, Evidence(findings, tests, audit), to, no_audit_reason=no_audit_reason)
    if missing:
        return missing
    target = record_path(file)
    with _alone(target.parent):
        before = read_record(target)
        if before is not None and before.policy != policy.id:
            raise LockError(f"release record {target}: is of policy {before.policy!r}; expected {policy.id!r}")
        verdict = audit.get("verdict") if audit and to == LIVE and policy.audit else None
        known = f"audit: {verdict}" if verdict and verdict != Verdict.PASS else ""
        told = "; ".join(
            one for one in (reason, f"no audit: {no_audit_reason}" if no_audit_reason else "", known) if one
        )
        change = Change(
            status=to,
            revision=lock.revision,
            policy_hash=lock.policy_hash,
            date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            by=by,
            reason=told,
            evidence={one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in _files(file) if one.exists()},
        )
        record = Record(policy.id, (*(before.changes if before else ()), change))
        with terminal.replacing(target) as stream:
            stream.write(encode_record(record))
    return record


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Whoever else changes a record in this folder waits: of two that read the same record, the second would write over the change of the first."""
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system may have no locks
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _files(lock: Path) -> list[Path]:
    """What a change of status rests on: the lock, and the reports beside it."""
    return [lock, *(beside(lock, suffix) for suffix in (TESTS_SUFFIX, AUDIT_SUFFIX))]


def _tell_missing(missing: list[Missing], to: str, *, as_json: bool) -> None:
    if as_json:
        told = [{"gate": one.gate, "why": one.why, "command": one.command} for one in missing]
        terminal.emit({"schema": "release-refused/v1", "to": to, "missing": told})
        return
    terminal.say(f"not released to {to}: {terminal.counted(len(missing), 'gate')} shut")
    for one in missing:
        terminal.say(f"  {one.gate}: {one.why}; run: {one.command}")

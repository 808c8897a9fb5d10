"""Where a policy's lock lies, and whether it is still that policy's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from moderation.errors import DataError, LockError, Problem
from moderation.policy.loader import load_policy
from moderation.policy.lock import ARRAYS_SUFFIX, SUFFIX, Lock, lock_path, read_lock
from moderation.policy.schema import Policy
from moderation.settings import Settings

# Beside a lock: what a release asks for.
TESTS_SUFFIX, AUDIT_SUFFIX = ".tests.json", ".audit.json"


def lock_file(policy: Policy, out: Path | None) -> Path:
    """The lock of a policy: beside its file, or in the build folder `out`."""
    return lock_path(out or policy.path.parent, policy.id)


def current_lock(policy: Policy, out: Path | None) -> Lock:
    """The lock of a policy as it reads now. Raises LockError when there is none, or when the policy changed since."""
    path = lock_file(policy, out)
    if not path.exists():
        raise LockError(
            f"policy {policy.id!r}: no lock at {path}; run: {command('compile', policy.path, out=out)}"
            + ("" if out else " (a lock elsewhere is named by --out, or given to scan in the policy's place)")
        )
    lock = read_lock(path)
    if lock.policy_hash != policy.content_hash:
        raise LockError(
            f"policy {policy.id!r}: {path} was compiled from another text of the policy ({lock.policy_hash[:16]}) "
            f"than {policy.path} has now ({policy.content_hash[:16]}); compile and certify it again: "
            f"{command('compile', policy.path, out=out)}"
        )
    return lock


def command(step: str, policy: Path, *, out: Path | None = None, background: Path | None = None) -> str:
    """What to type, ready to be copied: a step of `moderation policy` on a policy, `out` being the folder of a lock that is not beside it."""
    given = f" --background {shlex.quote(str(background))}" if background else ""
    return f"moderation policy {step} {shlex.quote(str(policy))}{elsewhere(out)}{given}"


def elsewhere(out: Path | None) -> str:
    """What a command is to be told of a lock that is not beside its policy."""
    return f" --out {shlex.quote(str(out))}" if out else ""


def beside(lock: Path, suffix: str) -> Path:
    """Where a report on the build whose lock is at this path lies."""
    return lock.with_name(lock.name.removesuffix(SUFFIX) + suffix)


def find_lock(path: Path, settings: Settings) -> Path:
    """The lock that `path` names: itself, or the one beside a policy file, which must still be that policy's."""
    if path.name.endswith(SUFFIX):
        return path
    if path.name.endswith(ARRAYS_SUFFIX):
        raise LockError(f"lock {path}: is the second file of a lock; name the first, {path.with_suffix('.json').name}")
    policy = load_policy(path, action_names=settings.actions)
    current_lock(policy, None)
    return lock_file(policy, None)


def report_beside(lock: Path, suffix: str) -> dict[str, Any] | None:
    """A report beside the lock; None where there is none. Raises DataError for one that is no JSON object."""
    path = beside(lock, suffix)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError([Problem(path, 0, 0, "D001", f"no report: {error}")]) from None
    if not isinstance(found, dict):
        raise DataError([Problem(path, 0, 0, "D003", "expected a report, one JSON object")])
    return found

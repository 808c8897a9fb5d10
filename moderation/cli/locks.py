"""Where a policy's lock lies, and whether it is still that policy's."""

from __future__ import annotations

from pathlib import Path

from moderation.errors import LockError
from moderation.policy.loader import load_policy
from moderation.policy.lock import SUFFIX, Lock, lock_path, read_lock
from moderation.policy.schema import Policy
from moderation.settings import Settings


def lock_file(policy: Policy, out: Path | None) -> Path:
    """The lock of a policy: beside its file, or in the build folder `out`."""
    return lock_path(out or policy.path.parent, policy.id)


def current_lock(policy: Policy, out: Path | None) -> Lock:
    """The lock of a policy as it reads now. Raises LockError when there is none, or when the policy changed since."""
    path = lock_file(policy, out)
    if not path.exists():
        raise LockError(
            f"policy {policy.id!r}: no lock at {path}; run: moderation policy compile {policy.path}"
            " (a lock elsewhere is named by --out, or given to scan in the policy's place)"
        )
    lock = read_lock(path)
    if lock.policy_hash != policy.content_hash:
        raise LockError(
            f"policy {policy.id!r}: {path} was compiled from another text of the policy ({lock.policy_hash[:16]}) "
            f"than {policy.path} has now ({policy.content_hash[:16]}); compile and certify it again"
        )
    return lock


def beside(lock: Path, suffix: str) -> Path:
    """Where a report on the build whose lock is at this path lies."""
    return lock.with_name(lock.name.removesuffix(SUFFIX) + suffix)


def find_lock(path: Path, settings: Settings) -> Path:
    """The lock that `path` names: itself, or the one beside a policy file, which must still be that policy's."""
    if path.name.endswith(SUFFIX):
        return path
    policy = load_policy(path, action_names=settings.actions)
    current_lock(policy, None)
    return lock_file(policy, None)

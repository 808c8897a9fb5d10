"""What `moderation policy lint --measured` adds: each policy's phrases, measured under the encoder that it names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from moderation import assemble
from moderation.cli import terminal
from moderation.cli.locks import lock_file
from moderation.embedding.embedder import Embedder
from moderation.errors import DataError, LockError, PolicyError
from moderation.policy.lint import Finding
from moderation.policy.loader import load_policy, policy_files
from moderation.policy.lock import Lock, read_lock
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.paths import background_of
from moderation.policy.schema import Policy
from moderation.release.measured_lint import measure
from moderation.settings import Settings


def measure_all(
    paths: Sequence[Path], settings: Settings, *, people: Path | None, background: Path | None
) -> Iterator[Finding]:
    """The findings on every policy that loads; what static lint refuses is left to it.

    `people` and `background` are manifests for all of them, in place of each policy's own. Raises DataError where one cannot be read,
    CompileError where a phrase cannot be encoded, and what loading an encoder raises.
    """
    embedders: dict[str, Embedder] = {}
    for file in sorted({file for path in paths for file in policy_files(path)}):
        try:
            policy = load_policy(file, action_names=settings.actions)
        except PolicyError:
            continue
        if policy.encoder not in embedders:
            with terminal.working("loading the encoder"):
                embedders[policy.encoder] = assemble.embedder(settings, policy.encoder)
        ordinary = [row.read() for row in _rows(background or background_of(policy.path, policy.id), given=background)]
        with terminal.working(f"{policy.id}: measuring its phrases"):
            yield from measure(
                policy,
                embedders[policy.encoder],
                background=ordinary,
                people=_people(policy, people),
                lock=_lock(policy),
            )


def _people(policy: Policy, given: Path | None) -> tuple[TargetRow, ...]:
    path = given or policy.data.audit
    return () if path is None else _rows(path, given=given)


def _rows(path: Path, *, given: Path | None) -> tuple[TargetRow, ...]:
    """A manifest's rows; of one that nobody named, none where it is not there, or not sound: static lint says that."""
    try:
        return load_manifest(path)
    except DataError:
        if given is not None:
            raise
        return ()


def _lock(policy: Policy) -> Lock | None:
    """The lock beside the policy, where it is of this very text."""
    try:
        lock = read_lock(lock_file(policy, None))
    except LockError:
        return None
    return lock if lock.policy_hash == policy.content_hash else None

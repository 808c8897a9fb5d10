"""Two locks of one policy on the same items: who changes band, in which group, near which phrase, and what that asks of the version."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from moderation.decision import Decision, Verdict
from moderation.detector.head import NOT_OF_THE_HEAD
from moderation.errors import DataError, LockError, Problem
from moderation.history.items import NO_DAY, UNKNOWN, Items, column_of, marks_of
from moderation.item import ContentItem
from moderation.policy.columns import OUTCOMES
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow
from moderation.release.achieved import verdict_of
from moderation.release.comparison import Compared, Comparison, Side, side_of

BATCH = 64
SAME_BUILD = "Both locks are the same build: nothing can differ."


class Decider(Protocol):
    """What a difference needs of each pipeline."""

    def decide(self, items: Sequence[ContentItem]) -> Sequence[Decision]:
        """One decision for each item, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs: `bump` is the version's part that must rise, and `why`; `compared` what both builds do."""

    policy: str
    before: str
    after: str
    bump: str
    why: tuple[str, ...]
    compared: Compared

    @property
    def changed(self) -> int:
        """How many items changed band."""
        return self.compared.overall.changed.hits

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain values, ready for JSON."""
        told = {name: getattr(self, name) for name in ("policy", "before", "after", "bump", "why")}
        return {"schema": "policy-diff/v1", **told, "changed": self.changed, **asdict(self.compared)}


def compare_locks(
    before: Lock,
    after: Lock,
    rows: Sequence[TargetRow],
    pipelines: tuple[Decider, Decider],
    *,
    order: Sequence[str],
    advance: Callable[[int], None] = lambda _count: None,
) -> Difference:
    """How the pipelines of the two locks, in this order, decide the same items; `order` names all actions, weakest first.

    Raises LockError for locks of two policies, DataError with every row that cannot be read.
    """
    refuse_two_policies(before, after)
    comparison = Comparison(order)
    problems: list[Problem] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        kept: list[TargetRow] = []
        items: list[ContentItem] = []
        for row in batch:
            try:
                items.append(row.item())
                kept.append(row)
            except DataError as error:
                problems += error.problems
        sides = [
            _side([verdict_of(one, after.policy) for one in pipeline.decide(items)], order) for pipeline in pipelines
        ]
        comparison.add(_items(kept), *sides)
        advance(len(batch))
    if problems:
        raise DataError(problems)
    return Difference(after.policy, before.revision, after.revision, *propose_bump(before, after), comparison.result())


def refuse_two_policies(before: Lock, after: Lock) -> None:
    """Raises LockError for locks of two policies."""
    if before.policy != after.policy:
        raise LockError(
            f"found locks of policies {before.policy!r} and {after.policy!r}; expected two locks of one policy"
        )


def propose_bump(before: Lock, after: Lock) -> tuple[str, tuple[str, ...]]:
    """Which part of the version must rise: `major` where the promise or the scope changed, `minor` where only who is acted on can have.

    `patch` where every item is decided alike, and the policy's text, or what was built beside the classifier, changed; `none` for the
    very same build. With what changed. Prevalences are compared where both builds were certified.
    """
    promises = [_promises(lock) for lock in (before, after)]
    major = [f"{name} changed" for name in ("severity", "on_error", "modalities", "surfaces", "languages", "detectors")
             if getattr(before, name) != getattr(after, name)]  # fmt: skip
    major += ["the promises of actions changed"] if promises[0] != promises[1] else []
    prevalences = [lock.evidence.get("certify", {}).get("prevalence") for lock in (before, after)]
    major += ["the prevalence changed"] if all(prevalences) and prevalences[0] != prevalences[1] else []
    if major:
        return "major", tuple(major)
    cuts = [[one.threshold for one in lock.actions] for lock in (before, after)]
    minor = ["thresholds changed"] if cuts[0] != cuts[1] else []
    minor += [
        f"{name} changed"
        for name in ("phrases", "level", "encoder_identity", "encoder_numeric", "max_parts", "readers", "calibration")
        if getattr(before, name) != getattr(after, name)
    ]
    minor += [] if same_head(before, after) else ["the classifier's numbers changed"]
    if minor:
        return "minor", tuple(minor)
    if before.policy_hash != after.policy_hash:
        return "patch", ("the policy's text changed",)
    if before.revision != after.revision:
        return "patch", ("the evidence changed",)
    return "none", ()


def _promises(lock: Lock) -> set[tuple[object, ...]]:
    """What is promised of each action; a budget is known of those that were certified."""
    return {
        (one.action, one.metric, one.at_least, one.confidence, (one.certificate or {}).get("budget"))
        for one in lock.actions
    }


def same_head(before: Lock, after: Lock) -> bool:
    """Whether both locks give every vector the same score."""
    names = (before.arrays.keys() | after.arrays.keys()) - NOT_OF_THE_HEAD
    return before.level == after.level and all(
        name in before.arrays and name in after.arrays and np.array_equal(before.arrays[name], after.arrays[name])
        for name in names
    )


def _side(verdicts: Sequence[Verdict | None], order: Sequence[str]) -> Side:
    return side_of(
        np.array([UNKNOWN if one is None else OUTCOMES.index(one.outcome) for one in verdicts], np.int64),
        np.array([0 if one is None or one.action is None else order.index(one.action) for one in verdicts], np.int64),
        np.array([np.nan if one is None or one.score is None else one.score for one in verdicts], np.float64),
        column_of(None if one is None else one.concept for one in verdicts),
        order,
    )


def _name(row: TargetRow) -> str:
    """What people know the row by, as a scan of its manifest does: its path there, else the manifest and line; without one the digest."""
    if row.line == 0:
        return row.sha256
    if row.path is not None:
        return Path(os.path.relpath(row.path, row.manifest.parent)).as_posix()
    return f"{row.manifest.as_posix()}:{row.line}"


def _items(rows: Sequence[TargetRow]) -> Items:
    names = sorted({name for row in rows for name in row.attributes})
    return Items(
        item=np.array([_name(row) for row in rows], object),
        mark=marks_of(row.sha256 for row in rows),
        cluster=marks_of(row.cluster for row in rows),
        attributes={name: column_of(row.attributes.get(name) for row in rows) for name in names},
        target=np.array([row.target for row in rows], np.int8),
        weight=np.full(len(rows), np.nan),
        day=np.full(len(rows), NO_DAY),
    )

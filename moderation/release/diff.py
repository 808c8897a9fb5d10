"""Two locks of one policy on the same items: who changes band, in which group, near which phrase, and what that asks of the version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from moderation.compiler.bounds import lower, upper
from moderation.decision import Decision, Outcome, Verdict
from moderation.errors import DataError, LockError, Problem
from moderation.item import ContentItem
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow

BATCH = 64
EXAMPLES = 10
OUT_OF_SCOPE = "out of scope"
BANDS = (*(outcome.value for outcome in Outcome), OUT_OF_SCOPE)
_SIDED = 0.025


class Decider(Protocol):
    """What a difference needs of each pipeline."""

    def decide(self, items: Sequence[ContentItem]) -> Sequence[Decision]:
        """One decision for each item, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Moved:
    """One item that changed band: its digest, bands, scores (None where there was none), and the phrase nearest to it now."""

    item: str
    target: bool
    before: str
    after: str
    score_before: float | None
    score_after: float | None
    concept: str | None


@dataclass(frozen=True, slots=True)
class Slice:
    """How many items of one kind changed band, of how many; the share with exact 95 % bounds."""

    name: str
    items: int
    changed: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Everything that differs. `matrix` counts items by band before and after; `bump` is the version's part that must rise, and `why`.

    `by_group` holds attributes' values, `by_concept` the phrase nearest under the new lock; `examples` are the changed items whose
    scores moved most.
    """

    policy: str
    before: str
    after: str
    bump: str
    why: tuple[str, ...]
    items: int
    matrix: Mapping[str, Mapping[str, int]]
    targets: Mapping[str, Mapping[str, int]]
    by_group: tuple[Slice, ...]
    by_concept: tuple[Slice, ...]
    examples: tuple[Moved, ...]

    @property
    def changed(self) -> int:
        """How many items changed band."""
        return sum(count for before, row in self.matrix.items() for after, count in row.items() if before != after)


def compare_locks(
    before: Lock,
    after: Lock,
    rows: Sequence[TargetRow],
    pipelines: tuple[Decider, Decider],
    *,
    advance: Callable[[int], None] = lambda _count: None,
) -> Difference:
    """How the pipelines of the two locks, in this order, decide the same items.

    Raises LockError for locks of two policies, DataError with every row that cannot be read.
    """
    if before.policy != after.policy:
        raise LockError(
            f"found locks of policies {before.policy!r} and {after.policy!r}; expected two locks of one policy"
        )
    moves: list[Moved] = []
    kept: list[TargetRow] = []
    problems: list[Problem] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        items: list[ContentItem] = []
        for row in batch:
            try:
                items.append(row.item())
                kept.append(row)
            except DataError as error:
                problems += error.problems
        first, second = (_verdicts(after.policy, pipeline.decide(items)) for pipeline in pipelines)
        moves += [_moved(row, a, b) for row, a, b in zip(kept[len(moves) :], first, second, strict=True)]
        advance(len(batch))
    if problems:
        raise DataError(problems)
    return _difference(before, after, kept, moves)


def propose_bump(before: Lock, after: Lock) -> tuple[str, tuple[str, ...]]:
    """Which part of the version must rise: `major` where the promise or the scope changed, `minor` where only who is acted on can have.

    `patch` where the policy's text changed and nothing else, `none` for the same build; with what changed.
    """
    promises = [
        {(one.action, one.metric, one.at_least, one.confidence) for one in lock.actions} for lock in (before, after)
    ]
    major = [f"{name} changed" for name in ("severity", "on_error", "modalities", "surfaces", "languages", "detectors")
             if getattr(before, name) != getattr(after, name)]  # fmt: skip
    major += ["the promises of actions changed"] if promises[0] != promises[1] else []
    if major:
        return "major", tuple(major)
    cuts = [[one.threshold for one in lock.actions] for lock in (before, after)]
    minor = ["thresholds changed"] if cuts[0] != cuts[1] else []
    minor += [
        f"{name} changed"
        for name in ("phrases", "level", "encoder_identity")
        if getattr(before, name) != getattr(after, name)
    ]
    minor += ["the classifier's numbers changed"] if _numbers_differ(before, after) else []
    if minor:
        return "minor", tuple(minor)
    if before.policy_hash != after.policy_hash:
        return "patch", ("the policy's text changed",)
    return "none", ()


def to_dict(found: Difference) -> dict[str, Any]:
    """The difference as plain values, ready for JSON."""
    return {"schema": "policy-diff/v1", **asdict(found), "changed": found.changed}


def _numbers_differ(before: Lock, after: Lock) -> bool:
    head = {"violating", "contrast", "gain", "offset", "numbers", "probe", "anchor", "exemplars", "votes", "affinity"}
    names = head & (before.arrays.keys() | after.arrays.keys())
    return any(
        (name in before.arrays) != (name in after.arrays) or not np.array_equal(before.arrays[name], after.arrays[name])
        for name in sorted(names)
    )


def _verdicts(policy: str, decisions: Sequence[Decision]) -> list[Verdict | None]:
    return [next((one for one in decision.verdicts if one.policy == policy), None) for decision in decisions]


def _band(verdict: Verdict | None) -> str:
    return verdict.outcome.value if verdict else OUT_OF_SCOPE


def _moved(row: TargetRow, before: Verdict | None, after: Verdict | None) -> Moved:
    return Moved(
        item=row.sha256,
        target=row.target,
        before=_band(before),
        after=_band(after),
        score_before=before.score if before else None,
        score_after=after.score if after else None,
        concept=after.concept if after else None,
    )


def _difference(before: Lock, after: Lock, rows: Sequence[TargetRow], moves: Sequence[Moved]) -> Difference:
    bump, why = propose_bump(before, after)
    counted = Counter((one.before, one.after) for one in moves)
    wrongs = Counter((one.target, one.before != one.after) for one in moves)
    groups: dict[str, list[bool]] = {}
    concepts: dict[str, list[bool]] = {}
    for row, one in zip(rows, moves, strict=True):
        changed = one.before != one.after
        for name, value in sorted(row.attributes.items()):
            groups.setdefault(f"{name} {value}", []).append(changed)
        concepts.setdefault(one.concept or "none", []).append(changed)
    apart = [one for one in moves if one.before != one.after]
    return Difference(
        policy=after.policy,
        before=before.revision,
        after=after.revision,
        bump=bump,
        why=why,
        items=len(moves),
        matrix={one: {other: counted[one, other] for other in BANDS} for one in BANDS},
        targets={
            name: {"items": wrongs[side, True] + wrongs[side, False], "changed": wrongs[side, True]}
            for name, side in (("violating", True), ("benign", False))
        },
        by_group=_slices(groups),
        by_concept=_slices(concepts),
        examples=tuple(sorted(apart, key=lambda one: (-_distance(one), one.item))[:EXAMPLES]),
    )


def _distance(one: Moved) -> float:
    return abs((one.score_after or 0.0) - (one.score_before or 0.0))


def _slices(groups: Mapping[str, Sequence[bool]]) -> tuple[Slice, ...]:
    """The slices with the most changes first."""
    found = [
        Slice(
            name,
            len(all_),
            sum(all_),
            float(lower(sum(all_), len(all_), _SIDED)),
            float(upper(sum(all_), len(all_), _SIDED)),
        )
        for name, all_ in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.changed / one.items, one.name)))

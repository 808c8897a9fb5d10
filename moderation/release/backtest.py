"""What locks would have done to stored vectors: flips both ways, load per action, precision and recall where targets allow them.

Only the head decides here: a lock with other detectors cannot be tried on vectors alone. The rule is decide.judge's, for items of one part
on the lock's own encoder; a property test holds the two together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.bounds import lower, upper
from moderation.detector.head import Head, score_many
from moderation.errors import LockError
from moderation.history.vectors import StoredBatch, StoredRow
from moderation.policy.decide import Cut
from moderation.policy.lock import Lock

NOTHING = ""
_SIDED = 0.025


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its exact 95 % interval, in clusters; `value` None, and why, where it cannot be estimated."""

    hits: int
    of: int
    value: float | None
    low: float | None
    high: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Load:
    """What one action, or a stronger one, would have taken: items, and the share of all with its exact 95 % interval of items."""

    action: str
    items: int
    share: float
    low: float
    high: float
    budget: float | None
    precision: Rate
    recall: Rate


@dataclass(frozen=True, slots=True)
class Backtest:
    """One lock on stored items, beside an earlier one where `before` is given.

    `flips` counts items by action before and after, "" for none; `by_group` the changed and all items of each attribute's value.
    """

    policy: str
    before: str | None
    after: str
    items: int
    skipped: Mapping[str, int]
    loads: tuple[Load, ...]
    flips: Mapping[str, int]
    by_group: Mapping[str, tuple[int, int]]

    @property
    def over_budget(self) -> tuple[str, ...]:
        """The actions that would have taken more than their budget allows."""
        return tuple(one.action for one in self.loads if one.budget is not None and one.share > one.budget)

    def to_dict(self) -> dict[str, Any]:
        """The backtest as plain values, ready for JSON."""
        return {"schema": "backtest/v1", **asdict(self), "over_budget": list(self.over_budget)}


@dataclass(slots=True)
class _Tally:
    items: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    flips: Counter[str] = field(default_factory=Counter)
    groups: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    # By action: of every cluster with a target, whether any item of it got the action; by target.
    clusters: dict[tuple[str, bool], dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))


def actions_for(cuts: Sequence[Cut], scores: NDArray[np.float64], order: Sequence[str]) -> NDArray[np.str_]:
    """The action of each score, rounded to 1e-6 as heads round them: the strongest cut at or below it by `order`, "" for none."""
    fired = np.full(len(scores), -1, np.int64)
    for cut in cuts:
        fired = np.where(scores >= cut.threshold, np.maximum(fired, order.index(cut.action)), fired)
    return np.array([NOTHING, *order])[fired + 1]


def backtest(
    after: Lock,
    batches: Iterable[StoredBatch],
    *,
    order: Sequence[str],
    before: Lock | None = None,
    budgets: Mapping[str, float] | None = None,
    advance: Callable[[int], None] = lambda _count: None,
) -> Backtest:
    """Decide stored items under `after`, and `before` where it is given; `order` names all actions, weakest first.

    Raises LockError for a lock with other detectors, without a threshold, or of another policy than the other one.
    """
    locks = [one for one in (before, after) if one is not None]
    for one in locks:
        _check(one, after)
    heads = [Head.from_arrays(one.level, one.arrays) for one in locks]
    cuts = [_cuts(one) for one in locks]
    tally = _Tally()
    for batch in batches:
        tally.skipped.update(batch.skipped)
        judged = [
            place for place, row in enumerate(batch.rows) if row.modality in {str(one) for one in after.modalities}
        ]
        tally.skipped["out of scope"] += len(batch.rows) - len(judged)
        scored = score_many(heads, batch.vectors[judged])
        made = [actions_for(cut, one.values, order) for cut, one in zip(cuts, scored, strict=True)]
        _count(tally, [batch.rows[place] for place in judged], made, order)
        advance(len(batch.rows))
    return Backtest(
        policy=after.policy,
        before=None if before is None else before.revision,
        after=after.revision,
        items=tally.items,
        skipped={reason: count for reason, count in sorted(tally.skipped.items()) if count},
        loads=tuple(_load(cut.action, tally, (budgets or {}).get(cut.action)) for cut in cuts[-1]),
        flips=dict(sorted(tally.flips.items())),
        by_group={name: (changed, all_) for name, (changed, all_) in sorted(tally.groups.items())},
    )


def _check(lock: Lock, other: Lock) -> None:
    if lock.policy != other.policy:
        raise LockError(
            f"found locks of policies {lock.policy!r} and {other.policy!r}; expected two locks of one policy"
        )
    if lock.detectors:
        named = ", ".join(lock.detectors)
        raise LockError(
            f"policy {lock.policy!r}: it also asks {named}, which vectors alone cannot answer; use `policy diff` on items"
        )
    if not _cuts(lock):
        raise LockError(
            f"policy {lock.policy!r}, revision {lock.revision}: it has no threshold, so it does nothing; certify it first"
        )


def _cuts(lock: Lock) -> list[Cut]:
    return [Cut(one.action, one.threshold) for one in lock.actions if one.threshold is not None]


def _count(tally: _Tally, rows: Sequence[StoredRow], made: Sequence[NDArray[np.str_]], order: Sequence[str]) -> None:
    now, then = made[-1], made[0]
    tally.items += len(rows)
    tally.flips.update(
        f"{one or 'nothing'} to {other or 'nothing'}" for one, other in zip(then, now, strict=True) if one != other
    )
    for place, row in enumerate(rows):
        action = str(now[place])
        for name, value in row.attributes.items():
            group = tally.groups[f"{name} {value}"]
            group[0] += bool(now[place] != then[place])
            group[1] += 1
        taken = [] if not action else [one for one in order if order.index(one) <= order.index(action)]
        tally.taken.update(taken)
        if row.target is not None:
            for one in order:
                clusters = tally.clusters[one, row.target]
                clusters[row.cluster] = clusters.get(row.cluster, False) or one in taken


def _load(action: str, tally: _Tally, budget: float | None) -> Load:
    taken, items = tally.taken[action], tally.items
    violating, benign = (tally.clusters.get((action, side), {}) for side in (True, False))
    right, wrong = sum(violating.values()), sum(benign.values())
    return Load(
        action=action,
        items=taken,
        share=taken / items if items else 0.0,
        low=float(lower(taken, items, _SIDED)),
        high=float(upper(taken, items, _SIDED)),
        budget=budget,
        precision=_rate(right, right + wrong, "no judged item got it"),
        recall=_rate(right, len(violating), "no item is judged to violate"),
    )


def _rate(hits: int, of: int, why: str) -> Rate:
    if not of:
        return Rate(hits, of, None, None, None, f"not estimable: {why}")
    return Rate(hits, of, hits / of, float(lower(hits, of, _SIDED)), float(upper(hits, of, _SIDED)))

"""What builds say of kept decisions: two builds' verdicts as they were given, or one build's scores under another lock's thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Outcome
from moderation.errors import LockError, SettingsError
from moderation.history.items import UNKNOWN, Items, Seen
from moderation.history.log import LogBatch, Verdicts, read_log, revisions
from moderation.policy.columns import OUTCOMES, judge_columns
from moderation.policy.decide import UNCERTIFIED
from moderation.policy.lock import Lock
from moderation.release.comparison import Side, side_of
from moderation.release.diff import same_head
from moderation.release.replay import AGAIN, Chunk, Told, Trial

Source = Literal["verdicts", "scores"]

ANOTHER = "decided under another revision"
NOT_JUDGED = "not judged by the policy"
FOREIGN = "embedded by another encoder"
NO_SCORE = "its score is no number from 0 to 1"
NOT_REPEATED = (
    "its verdict is not what its score alone gives: more parts than certified, ε, or another detector's abstention"
)
ONE_ONLY = "judged by one of the two builds only"
_ERROR = OUTCOMES.index(Outcome.ERROR)
_SCOPE = ("modalities", "surfaces", "languages", "detectors", "encoder_identity")


def source_of(places: Sequence[Path], trial: Trial) -> Source:
    """Whether all builds' own verdicts are in the log, or the one's scores can be taken for the other's.

    Raises LockError, with what to do, where neither is so.
    """
    before, after = trial.before, trial.after
    found = revisions(places, after.policy)
    if {one.revision for one in trial.locks} <= set(found):
        return "verdicts"
    asked = f"policy {after.policy!r}: the decisions were made under revisions {', '.join(found) or 'of none'}"
    if before is None or before.revision not in found:
        given = f"--before is {before.revision}" if before else f"--lock is {after.revision}"
        raise LockError(f"{asked}; {given}: give the lock that they were made under as --before")
    differs = [name for name in _SCOPE if getattr(before, name) != getattr(after, name)]
    differs += [] if same_head(before, after) else ["the classifier"]
    if differs:
        raise LockError(
            f"{asked}; {after.revision} differs from {before.revision} in {', '.join(differs)}, so kept scores say nothing of it: "
            "try it on kept vectors (--vectors), or let it decide the same items in shadow"
        )
    return "scores"


def replay_log(places: Sequence[Path], trial: Trial, source: Source) -> Iterator[Chunk]:
    """What the builds say of every decision in files, or folders of files.

    Verdicts of one item that lie in different places are held until the end: some 200 bytes each. Raises as `source_of` and `read_log`.
    """
    batches = read_log(places, trial.after.policy, identity=trial.after.encoder_identity)
    if source == "scores" and trial.before is not None:
        yield from _again(batches, trial, trial.before)
    else:
        yield from _as_given(batches, trial)


def _again(batches: Iterator[LogBatch], trial: Trial, before: Lock) -> Iterator[Chunk]:
    seen = Seen()
    for batch in batches:
        skipped = _start(batch, [before], trial.told)
        own = batch.of(before.revision)
        new = _first(seen, batch.items, own.there)
        wrong = ~np.isnan(own.score) & ~((own.score >= 0.0) & (own.score <= 1.0))
        given, was, now = (
            _given(own, trial.order),
            _judged(batch, own, before, trial),
            _judged(batch, own, trial.after, trial),
        )
        repeated = (was.band == given.band) & (was.force == given.force)
        left = own.there
        for reason, fine in ((AGAIN, new), (FOREIGN, ~batch.foreign), (NO_SCORE, ~wrong), (NOT_REPEATED, repeated)):
            skipped[reason] += int((left & ~fine).sum())
            left = left & fine
        rows = np.flatnonzero(left)
        trial.told.statuses[0].update(_statuses(own, rows))
        yield Chunk(batch.items.take(rows), (given.take(rows), now.take(rows)), +skipped, {})


def _as_given(batches: Iterator[LogBatch], trial: Trial) -> Iterator[Chunk]:
    count = len(trial.locks)
    seen, halves = [Seen() for _ in range(count)], [_Half() for _ in range(count)]
    for batch in batches:
        skipped = _start(batch, trial.locks, trial.told)
        verdicts = [batch.of(lock.revision) for lock in trial.locks]
        there = [_first(known, batch.items, one.there) for known, one in zip(seen, verdicts, strict=True)]
        again = np.any([one.there & ~first for one, first in zip(verdicts, there, strict=True)], axis=0)
        skipped[AGAIN] += int(again.sum())
        sides = [_given(one, trial.order) for one in verdicts]
        for statuses, one, first in zip(trial.told.statuses[-count:], verdicts, there, strict=True):
            statuses.update(_statuses(one, np.flatnonzero(first)))
        both = np.all(there, axis=0)
        for half, side, first in zip(halves, sides, there, strict=True):
            half.add(batch.items, side, np.flatnonzero(first & ~both))
        rows = np.flatnonzero(both)
        yield Chunk(batch.items.take(rows), tuple(side.take(rows) for side in sides), +skipped, {})
    if trial.before is not None:
        yield from _met(*halves)


@dataclass(slots=True)
class _Half:
    """Items of which one side is known so far."""

    items: list[Items] = field(default_factory=list)
    sides: list[Side] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(one) for one in self.items)

    def add(self, items: Items, side: Side, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self.items.append(items.take(rows))
            self.sides.append(side.take(rows))


def _met(before: _Half, after: _Half) -> Iterator[Chunk]:
    """The items that both halves have, each with what is known of it in the first."""
    marks = np.concatenate([one.mark for one in after.items] or [np.zeros(0, np.uint64)])
    starts = np.cumsum([0, *(len(one) for one in after.items)])
    met = 0
    for items, side in zip(before.items, before.sides, strict=True):
        _, rows, partner = np.intersect1d(items.mark, marks, assume_unique=True, return_indices=True)
        batch = np.searchsorted(starts, partner, side="right") - 1
        for number in np.unique(batch).tolist():
            own, other = rows[batch == number], partner[batch == number] - starts[number]
            met += len(own)
            yield Chunk(items.take(own), (side.take(own), after.sides[number].take(other)), {}, {})
    alone = len(before) + len(after) - 2 * met
    if alone:
        nobody = np.zeros(0, np.int64)
        items, side = (before.items or after.items)[0], (before.sides or after.sides)[0]
        yield Chunk(items.take(nobody), (side.take(nobody), side.take(nobody)), {ONE_ONLY: alone}, {})


def _start(batch: LogBatch, locks: Sequence[Lock], told: Told) -> Counter[str]:
    """What is left out from the start: decisions without a verdict of these builds."""
    skipped = Counter(batch.skipped)
    judged = np.zeros(len(batch.items), np.bool_)
    for revision, one in batch.verdicts.items():
        told.revisions[revision] += int(one.there.sum())
        judged |= one.there
    wanted = np.any([batch.of(lock.revision).there for lock in locks], axis=0)
    skipped[ANOTHER] += int((judged & ~wanted).sum())
    skipped[NOT_JUDGED] += int((~judged).sum())
    return skipped


def _first(seen: Seen, items: Items, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the verdicts that are there are the first on their item."""
    first = there.copy()
    first[there] = seen.first(items.mark[there])
    return first


def _given(own: Verdicts, order: Sequence[str]) -> Side:
    """The verdicts as they stand. Raises SettingsError for an action that the settings do not name."""
    unknown = sorted(set(own.action.names) - set(order))
    if unknown:
        raise SettingsError(
            f"settings: actions: the decisions ask for {unknown[0]!r}; expected one of {', '.join(order)}"
        )
    places = np.array([*(order.index(name) for name in own.action.names), 0], np.int64)
    return side_of(own.outcome, places[own.action.codes], own.score, own.concept, order)


def _judged(batch: LogBatch, own: Verdicts, lock: Lock, trial: Trial) -> Side:
    """What the lock says of kept scores. A verdict of error had a part without a score, but for one that only lacked thresholds."""
    uncertified = np.array([*(name == UNCERTIFIED for name in own.error.names), False])[own.error.codes]
    silent = (own.outcome == _ERROR) & ~uncertified
    outcome, force = np.full(len(own.score), UNKNOWN), np.zeros(len(own.score), np.int64)
    for code in np.unique(batch.numeric.codes[own.there]).tolist():
        rows = np.flatnonzero(own.there & (batch.numeric.codes == code))
        # Where nothing was embedded there is no score that ε could move.
        numeric = lock.encoder_numeric if code == UNKNOWN else batch.numeric.names[code]
        parts = np.zeros(len(rows), np.int64)
        judged = judge_columns(
            trial.terms(lock, numeric), own.score[rows], parts=parts, silent=silent[rows], order=trial.order
        )
        outcome[rows], force[rows] = judged.outcome, judged.force
    return side_of(outcome, force, own.score, own.concept, trial.order)


def _statuses(own: Verdicts, rows: NDArray[np.int64]) -> Counter[str]:
    counts = np.bincount(own.status.codes[rows] + 1, minlength=len(own.status.names) + 1).tolist()
    return +Counter(dict(zip(("", *own.status.names), counts, strict=True)))

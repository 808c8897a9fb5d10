"""What builds say of kept items: decided again from kept vectors, again from kept scores, or as it was decided then.

All three end in the same sides, which one comparison counts. Whatever decides again is the rule of policy/decide.py, over columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderation.detector.concept import ConceptDetector
from moderation.detector.head import Head, Scored, score_many
from moderation.errors import LockError
from moderation.history.items import UNKNOWN, Column, Items, Seen
from moderation.history.vectors import MODALITIES, VectorBatch, read_vectors
from moderation.policy.columns import judge_columns
from moderation.policy.decide import Terms
from moderation.policy.lock import Lock
from moderation.release.comparison import Side, side_of
from moderation.rollout.locks import terms_of
from moderation.rollout.running import scope_of

AGAIN = "the same item again"
NEAR, TOO_MANY = "within ε of a threshold", "of more parts than were certified"


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """n items and what each build says of them; `skipped` counts items left out, by reason, `capped` those that get less for a reason."""

    items: Items
    sides: tuple[Side, ...]
    skipped: Mapping[str, int]
    capped: Mapping[str, int]


def same_epsilon(lock: Lock, numeric: str) -> float:
    """ε where the numeric class is the lock's own. Raises LockError for another one: it takes its encoder to measure it."""
    if numeric != lock.encoder_numeric:
        raise LockError(
            f"policy {lock.policy!r}, revision {lock.revision}: the lock was built on {lock.encoder_numeric}, what is kept was encoded on {numeric}; how "
            "far scores differ can only be measured where the encoder runs so: try the lock there, or compile and certify it there"
        )
    return 0.0


@dataclass(slots=True)
class Told:
    """What is learnt on the way: ε by numeric class and revision; of a log, the policy's verdicts by revision, and each side's by status."""

    numeric: dict[str, dict[str, float]] = field(default_factory=dict)
    revisions: Counter[str] = field(default_factory=Counter)
    statuses: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What is tried: two locks of one policy, or one beside no build at all; `order` names all actions, weakest first.

    `measure` tells ε of a lock on a numeric class; `told` is filled in while items are decided.
    """

    before: Lock | None
    after: Lock
    order: Sequence[str]
    measure: Callable[[Lock, str], float] = same_epsilon
    told: Told = field(default_factory=Told)

    @property
    def locks(self) -> tuple[Lock, ...]:
        """The locks that there are, the one to try last."""
        return (self.after,) if self.before is None else (self.before, self.after)

    def terms(self, lock: Lock, numeric: str) -> Terms:
        """What decides under a lock on a numeric class."""
        known = self.told.numeric.setdefault(numeric, {})
        if lock.revision not in known:
            known[lock.revision] = self.measure(lock, numeric)
        return terms_of(lock, actions=self.order, epsilon=known[lock.revision])


def replay_vectors(places: Sequence[Path], trial: Trial) -> Iterator[Chunk]:
    """What the locks say of every item in files, or folders of files, of kept vectors.

    Raises LockError for locks that vectors alone cannot answer, DataError for files that cannot be read.
    """
    for lock in trial.locks:
        _check(lock, trial.after)
    heads = [ConceptDetector(lock).head for lock in trial.locks]
    seen, own = Seen(), trial.after
    for batch in read_vectors(places, own.policy, identity=own.encoder_identity, width=own.width):
        new = seen.first(batch.items.mark)
        skipped = Counter(batch.skipped)
        skipped[AGAIN] += int((~new).sum())
        yield _decided(batch if new.all() else batch.take(new), trial, heads, +skipped)


def _check(lock: Lock, other: Lock) -> None:
    if lock.readers:
        named = ", ".join(one.id for one in lock.readers)
        raise LockError(
            f"policy {lock.policy!r}, revision {lock.revision}: it was certified with what {named} derived from parts, of which no vectors are kept; "
            "give decisions (--decisions), which hold the whole score, or use `policy diff` on items"
        )
    if lock.detectors:
        named = ", ".join(lock.detectors)
        raise LockError(
            f"policy {lock.policy!r}, revision {lock.revision}: it also asks {named}, which vectors alone cannot answer; give decisions "
            "(--decisions), which hold the whole score, or use `policy diff` on items"
        )
    if lock.encoder_identity != other.encoder_identity or lock.width != other.width:
        raise LockError(
            f"policy {lock.policy!r}: the locks are of encoders {lock.encoder_identity} and {other.encoder_identity}, and no vector is of both; use "
            "`policy diff` on items"
        )


def _decided(batch: VectorBatch, trial: Trial, heads: Sequence[Head], skipped: Mapping[str, int]) -> Chunk:
    capped: Mapping[str, int] = {}
    sides = []
    for lock, scored in zip(trial.locks, score_many(heads, batch.vectors), strict=True):
        terms, inside = trial.terms(lock, batch.numeric), _in_scope(lock, batch)
        score, nearest = _highest(batch, inside & batch.encoded, scored)
        parts = np.bincount(batch.row[inside], minlength=len(batch.items))
        silent = np.bincount(batch.row[inside & ~batch.encoded], minlength=len(batch.items)) > 0
        judge = partial(judge_columns, scores=score, parts=parts, silent=silent, order=trial.order)
        judged = judge(terms)
        outcome = np.where(parts == 0, UNKNOWN, judged.outcome)
        sides.append(side_of(outcome, judged.force, score, Column(lock.phrases, nearest), trial.order))
        free = {NEAR: replace(terms, epsilon=0.0), TOO_MANY: replace(terms, max_parts=int(parts.max(initial=0)))}
        capped = {
            reason: int(((judge(other).force != judged.force) & (parts > 0)).sum())
            for reason, other in free.items()
            if other != terms
        }
    return Chunk(batch.items, tuple(sides), skipped, capped)


def _in_scope(lock: Lock, batch: VectorBatch) -> NDArray[np.bool_]:
    """Which parts the policy judges, [p]: the rule is asked once for each surface with each language that there is."""
    stated = {name: batch.items.attributes[name] for name in ("surface", "language") if name in batch.items.attributes}
    codes = (
        np.stack([column.codes for column in stated.values()]) if stated else np.zeros((1, len(batch.items)), np.int64)
    )
    distinct, which = np.unique(codes, axis=1, return_inverse=True)
    judged = np.zeros((distinct.shape[1], len(MODALITIES)), np.bool_)
    for place, combination in enumerate(distinct.T.tolist()):
        said = {
            name: column.names[code]
            for (name, column), code in zip(stated.items(), combination, strict=False)
            if code != UNKNOWN
        }
        judged[place, list(scope_of(lock, said, MODALITIES))] = True
    return judged[which.reshape(-1)[batch.row], batch.modality]


def _highest(
    batch: VectorBatch, counts: NDArray[np.bool_], scored: Scored
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Each item's highest score among the parts that count, and the phrase nearest to that part; NaN and UNKNOWN where none counts."""
    score, phrase = np.full(len(batch.items), np.nan), np.full(len(batch.items), UNKNOWN)
    places = np.flatnonzero(counts)
    places = places[np.lexsort((scored.values[places], batch.row[places]))]
    rows = batch.row[places]
    places = places[np.flatnonzero(np.append(rows[1:] != rows[:-1], len(rows) > 0))]  # an item's highest comes last
    score[batch.row[places]], phrase[batch.row[places]] = scored.values[places], scored.nearest[places]
    return score, phrase

"""What an audit looks at: judged items as columns, with their groups; who could not be judged is counted, never dropped."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Decision, Outcome, Verdict
from moderation.errors import DataError, LockError, Problem
from moderation.item import ContentItem
from moderation.policy.audit_block import AuditReview
from moderation.policy.manifest import TargetRow

BATCH = 64
UNKNOWN = -1
OUTCOMES = {"": UNKNOWN, "upheld": 0, "overturned": 1}
OUT_OF_SCOPE = "out of scope"

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Decider(Protocol):
    """What an audit needs of the pipeline."""

    def decide(self, items: Sequence[ContentItem]) -> Sequence[Decision]:
        """One decision for each item, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """One item of the audit manifest and what the policy said of it; `error` is why it said nothing, `review` whether a person looks.

    `force` counts what is done to it: 0 nothing, else the place of the action among all actions, weakest first.
    """

    row: TargetRow
    score: float | None
    force: int
    review: bool
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """One attribute, or several taken together: the groups' names, and each item's group, int64 [n], UNKNOWN where it is not stated."""

    attribute: str
    names: tuple[str, ...]
    codes: Codes


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Judged items as columns of n rows: `score` in [0, 1], `target` true where the item breaks the policy, `force`, `review`, `cluster`.

    `outcome` is 1 where a reviewer overturned the decision, 0 where it was upheld, UNKNOWN where nobody says; `weight` is how many
    items of the traffic an item stands for. `stated` names the attributes that any item states. `excluded` counts the items without a score, by reason; `lost` the same by attribute and group, since a filtered audit looks fair.
    """

    ids: tuple[str, ...]
    score: Floats
    target: Flags
    force: Codes
    review: Flags
    cluster: Codes
    outcome: Codes
    weight: Floats
    groups: Mapping[str, Groups]
    stated: tuple[str, ...]
    excluded: Mapping[str, int]
    lost: Mapping[str, Mapping[str, int]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def clusters(self) -> int:
        """How many independent units of evidence there are."""
        return distinct(self.cluster)

    def crossed(self, attributes: Sequence[str]) -> Groups:
        """These attributes taken together; an item of which one is unknown is unknown."""
        parts = [self.groups[name] for name in attributes]
        known = np.all([part.codes >= 0 for part in parts], axis=0)
        shape = tuple(max(len(part.names), 1) for part in parts)
        flat = np.ravel_multi_index([np.maximum(part.codes, 0) for part in parts], shape)
        used, codes = np.unique(flat[known], return_inverse=True)
        places = np.unravel_index(used, shape)
        names = tuple(
            " × ".join(part.names[int(place[cell])] for part, place in zip(parts, places, strict=True))
            for cell in range(len(used))
        )
        filled = np.full(len(self), UNKNOWN, np.int64)
        filled[known] = codes
        return Groups(" × ".join(attributes), names, filled)

    def unseen(self, attributes: Sequence[str]) -> tuple[str, ...]:
        """The combinations of groups of which there is no item at all, as `crossed` names them."""
        seen = set(self.crossed(attributes).names)
        every = (" × ".join(names) for names in itertools.product(*(self.groups[one].names for one in attributes)))
        return tuple(name for name in every if name not in seen)


def distinct(codes: Codes) -> int:
    """How many different ones there are among codes from 0: counted, since sorting is what takes long."""
    return int(np.count_nonzero(np.bincount(codes)))


def judge_rows(
    policy: str,
    rows: Sequence[TargetRow],
    pipeline: Decider,
    *,
    actions: Sequence[str],
    advance: Callable[[int], None] = lambda _count: None,
) -> list[Judged]:
    """Every row as the pipeline decides it; `actions` are all names of actions, weakest first.

    Raises DataError with every row whose content cannot be read, LockError where the policy has no threshold to decide with.
    """
    judged: list[Judged] = []
    problems: list[Problem] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        readable: list[tuple[TargetRow, ContentItem]] = []
        for row in batch:
            try:
                readable.append((row, row.item()))
            except DataError as error:
                problems += error.problems
        decisions = pipeline.decide([item for _, item in readable])
        judged += [_judged(policy, row, one, actions) for (row, _), one in zip(readable, decisions, strict=True)]
        advance(len(batch))
    if problems:
        raise DataError(problems)
    return judged


def refuse_reviews(rows: Sequence[TargetRow], review: AuditReview | None) -> None:
    """Raises DataError with every row whose reviewer's outcome or weight cannot be read."""
    problems = []
    for row in rows if review else ():
        try:
            _reviewed(row, review)
        except ValueError as error:
            problems.append(row.problem("D003", str(error)))
    if problems:
        raise DataError(problems)


def make_sample(
    judged: Iterable[Judged],
    attributes: Sequence[str],
    *,
    clusters: str | None = None,
    review: AuditReview | None = None,
) -> Sample:
    """The judged items as columns, grouped by these attributes; `clusters` names the attribute that makes items dependent.

    Without `clusters`, and for a row that does not state it, the manifest's own cluster counts. A score that is no number
    excludes its item. `review` names the attributes that say what reviewers did; raises ValueError where they cannot be read.
    """
    everything = list(judged)
    kept = [one for one in everything if one.error is None and one.score is not None and np.isfinite(one.score)]
    missing = [one for one in everything if one.error is not None or one.score is None or not np.isfinite(one.score)]
    units = [one.row.attributes.get(clusters or "", "") or f"cluster {one.row.cluster}" for one in kept]
    reviewed = [_reviewed(one.row, review) for one in kept]
    return Sample(
        ids=tuple(one.row.sha256 for one in kept),
        score=np.array([one.score for one in kept], np.float64),
        target=np.array([one.row.target for one in kept], np.bool_),
        force=np.array([one.force for one in kept], np.int64),
        review=np.array([one.review for one in kept], np.bool_),
        cluster=_codes(units)[1],
        outcome=np.array([outcome for outcome, _ in reviewed], np.int64),
        weight=np.array([weight for _, weight in reviewed], np.float64),
        groups={name: _groups(name, [one.row.attributes.get(name, "") for one in kept]) for name in attributes},
        stated=tuple(sorted({name for one in everything for name, value in one.row.attributes.items() if value})),
        excluded=dict(sorted(Counter(one.error or "the score is no number" for one in missing).items())),
        lost={
            name: dict(sorted(Counter(one.row.attributes.get(name, "") or "unknown" for one in missing).items()))
            for name in attributes
        },
    )


def _judged(policy: str, row: TargetRow, decision: Decision, actions: Sequence[str]) -> Judged:
    verdict = next((one for one in decision.verdicts if one.policy == policy), None)
    if verdict is None:
        return Judged(row, None, 0, review=False, error=OUT_OF_SCOPE)
    if verdict.error == "uncertified":
        raise LockError(
            f"policy {policy!r}: its lock has no threshold, so it does nothing to anyone; certify it, then audit"
        )
    error = _why(verdict) if verdict.outcome is Outcome.ERROR else None
    force = actions.index(verdict.action) if verdict.action in actions else 0
    return Judged(row, verdict.score, force, review=verdict.outcome is Outcome.REVIEW, error=error)


def _reviewed(row: TargetRow, review: AuditReview | None) -> tuple[int, float]:
    if review is None:
        return UNKNOWN, 1.0
    said = row.attributes.get(review.outcome, "")
    if said not in OUTCOMES:
        raise ValueError(f"attributes.{review.outcome}: found {said!r}; expected upheld, overturned, or nothing")
    told = row.attributes.get(review.weight or "", "") or "1"
    try:
        weight = float(told)
    except ValueError:
        weight = 0.0
    if not 0.0 < weight < np.inf:
        raise ValueError(f"attributes.{review.weight}: found {told!r}; expected a number above 0")
    return OUTCOMES[said], weight


def _why(verdict: Verdict) -> str:
    return f"{verdict.error} ({verdict.cause})" if verdict.cause else str(verdict.error)


def _groups(attribute: str, values: Sequence[str]) -> Groups:
    names, codes = _codes(values)
    if "" in names:  # the empty text sorts first
        return Groups(attribute, names[1:], codes - 1)
    return Groups(attribute, names, codes)


def _codes(values: Sequence[str]) -> tuple[tuple[str, ...], Codes]:
    names, codes = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
    return tuple(str(name) for name in names), codes.astype(np.int64)

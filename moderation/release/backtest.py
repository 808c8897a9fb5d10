"""What a build would have done to kept items, beside another build or none: loads, flips both ways, precision and recall.

The items come from kept vectors or kept decisions (release/replay.py, replay_log.py); a shadow's report is the same, of decisions that
both builds took. Everything is counted as it comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from moderation.decision import DRAFT
from moderation.errors import LockError
from moderation.history.items import UNKNOWN, Column
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy, Prevalence
from moderation.release.comparison import OUT_OF_SCOPE, Compared, Comparison, Side, bands_of
from moderation.release.diff import propose_bump, refuse_two_policies
from moderation.release.loads import LoadCounter, Loads
from moderation.release.rates import RateCounter, Rates
from moderation.release.replay import Chunk, Trial

SCHEMA = "backtest/v1"
NOT_KNOWN = "not known: nobody says how the judged items were drawn, and those that were acted on are judged first"
Source = Literal["vectors", "scores", "verdicts"]
SOURCES: Mapping[Source, str] = {
    "vectors": "kept vectors, decided again under each build",
    "scores": "kept decisions of the build before, whose scores were decided again under the other one's thresholds",
    "verdicts": "kept decisions, as each build took them",
}


@dataclass(frozen=True, slots=True)
class Build:
    """One build: what it is, what it takes, and how right it is. `statuses` counts the verdicts it gave by the status it then had.

    `other_text` is whether it was compiled from another text of the policy than the file has now.
    """

    version: str
    revision: str
    policy_hash: str
    other_text: bool
    level: str
    status: str
    loads: Loads
    rates: Rates
    statuses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backtest:
    """Two builds of one policy on kept items, or one beside no build (`before` None), which leaves everything alone.

    `skipped` counts rows left out, by reason; `capped` items that would get more but for a rule of caution. `numeric` holds ε by the
    numeric class that items were encoded on and the revision. `revisions` counts all verdicts of the policy in a log, by revision.
    """

    policy: str
    title: str
    source: Source
    encoder: str
    before: Build | None
    after: Build
    bump: str
    why: tuple[str, ...]
    skipped: Mapping[str, int]
    capped: Mapping[str, int]
    compared: Compared
    stated: Prevalence
    numeric: Mapping[str, Mapping[str, float]]
    revisions: Mapping[str, int]
    limits: tuple[str, ...]
    command: str

    @property
    def same_build(self) -> bool:
        """Whether the build that is tried and the one beside it are the same."""
        return self.before is not None and self.before.revision == self.after.revision

    @property
    def over_budget(self) -> tuple[str, ...]:
        """The actions that surely take more than their budget allows, under the build that is tried."""
        return tuple(one.action for one in self.after.loads.loads if one.over)

    @property
    def may_be_over_budget(self) -> tuple[str, ...]:
        """The actions that were seen to take more than their budget, which chance alone could explain."""
        return tuple(one.action for one in self.after.loads.loads if one.may_be_over)

    @property
    def warning(self) -> str:
        """What to know first where the policy's file is not the text that the build to try was compiled from; else empty."""
        if not self.after.other_text:
            return ""
        return (
            f"the policy file has another text now than revision {self.after.revision} was compiled from: budgets are those that this revision was "
            "certified with; to try what the file says now, compile and certify it"
        )

    @property
    def prevalence(self) -> str:
        """How the share of violating items lies to the interval that the policy states and its guarantees hold in.

        Of judged items that nobody says how they were drawn, it says nothing: reviewers mostly see what was flagged.
        """
        found, stated = self.after.rates.prevalence, self.stated
        if found.value is None or found.low is None or found.high is None:
            return found.why
        if found.basis == "judged":
            return NOT_KNOWN
        if found.low > stated.high or found.high < stated.low:
            return f"{'above' if found.low > stated.high else 'below'} what the policy states: its guarantees do not speak for these items"
        if stated.low <= found.low and found.high <= stated.high:
            return "within what the policy states"
        return "not surely within what the policy states"

    def to_dict(self) -> dict[str, Any]:
        """The backtest as plain values, ready for JSON."""
        over = {"over_budget": list(self.over_budget), "may_be_over_budget": list(self.may_be_over_budget)}
        return {
            "schema": SCHEMA,
            **asdict(self),
            **over,
            "warning": self.warning,
            "prevalence": self.prevalence,
            "stated": self.stated.model_dump(),
        }


class _Counter:
    """One build's loads and judged items."""

    def __init__(self, lock: Lock, order: Sequence[str]) -> None:
        self.lock = lock
        thresholds = {one.action: one.threshold for one in lock.actions}
        self.loads, self.rates, self.actions = LoadCounter(thresholds, order), RateCounter(order), list(thresholds)

    def add(self, chunk: Chunk, side: Side) -> None:
        self.loads.add(chunk.items, side)
        self.rates.add(chunk.items, side)

    def result(self, policy: Policy, status: str, statuses: Mapping[str, int]) -> Build:
        return Build(
            version=self.lock.version,
            revision=self.lock.revision,
            policy_hash=self.lock.policy_hash,
            other_text=self.lock.policy_hash != policy.content_hash,
            level=self.lock.level,
            status=status,
            loads=self.loads.result(_budgets(self.lock, policy)),
            rates=self.rates.result(self.actions, self.loads.by_force),
            statuses=dict(sorted(statuses.items())),
        )


def backtest(
    chunks: Iterable[Chunk],
    trial: Trial,
    policy: Policy,
    *,
    source: Source,
    statuses: tuple[str, str] = (DRAFT, DRAFT),
    command: str = "",
    advance: Callable[[int], None] = lambda _count: None,
) -> Backtest:
    """Count what the builds of a trial say of items; `policy` states the prevalence, `statuses` are those of the builds.

    Raises LockError for locks of another policy, and for one to try that has no threshold; else what gives the items raises.
    """
    check_trial(trial, policy)
    comparison, counters = Comparison(trial.order), [_Counter(lock, trial.order) for lock in trial.locks]
    skipped: Counter[str] = Counter()
    capped: Counter[str] = Counter()
    for chunk in chunks:
        skipped.update(chunk.skipped)
        capped.update(chunk.capped)
        for counter, side in zip(counters, chunk.sides, strict=True):
            counter.add(chunk, side)
        after = chunk.sides[-1]
        comparison.add(chunk.items, _nobody(after, trial.order) if trial.before is None else chunk.sides[0], after)
        advance(len(chunk.items))
    told = zip(counters, statuses[-len(counters) :], trial.told.statuses[-len(counters) :], strict=True)
    *earlier, tried = [counter.result(policy, status, given) for counter, status, given in told]
    bump, why = propose_bump(trial.before, trial.after) if trial.before else ("none", ())
    found = Backtest(
        policy=policy.id,
        title=policy.title,
        source=source,
        encoder=trial.after.encoder_identity,
        before=earlier[0] if earlier else None,
        after=tried,
        bump=bump,
        why=why,
        skipped=dict(sorted((+skipped).items())),
        capped=dict(sorted((+capped).items())),
        compared=comparison.result(),
        stated=policy.prevalence,
        numeric={name: dict(sorted(one.items())) for name, one in sorted(trial.told.numeric.items())},
        revisions=dict(sorted(trial.told.revisions.items())),
        limits=(),
        command=command,
    )
    return replace(found, limits=tuple(_limits(found, trial, policy)))


def check_trial(trial: Trial, policy: Policy) -> None:
    """Raises LockError for locks of another policy than this, and for one to try that has no threshold."""
    if trial.before is not None:
        refuse_two_policies(trial.before, trial.after)
    if trial.after.policy != policy.id:
        raise LockError(
            f"found a lock of policy {trial.after.policy!r}; expected one of {policy.id!r}, as {policy.path} says"
        )
    if not any(one.threshold is not None for one in trial.after.actions):
        raise LockError(
            f"policy {policy.id!r}, revision {trial.after.revision}: it has no threshold, so it does nothing; certify it first"
        )


def _budgets(lock: Lock, policy: Policy) -> dict[str, float]:
    """What each action of a build may take: as the text says that it was compiled from, else as its certificates promise."""
    if lock.policy_hash == policy.content_hash:
        told = {one.action: one.budget for one in policy.actions}
    else:
        told = {one.action: (one.certificate or {}).get("budget") for one in lock.actions}
    return {action: budget for action, budget in told.items() if budget is not None}


def _nobody(after: Side, order: Sequence[str]) -> Side:
    """No build at all: everything that the other one judges is left alone."""
    out = bands_of(order).index(OUT_OF_SCOPE)
    count = len(after.band)
    nothing = Column((), np.full(count, UNKNOWN))
    return Side(np.where(after.band == out, out, 0), np.zeros(count, np.int64), np.full(count, np.nan), nothing)


def _limits(found: Backtest, trial: Trial, policy: Policy) -> Iterator[str]:
    yield "Loads and flips are of the kept items, and speak for other traffic only as far as it is like them."
    yield (
        "Intervals are exact binomial ones (95 %) at the number of independent items: those of one cluster count for less. Where a cluster is "
        "named for none, every item counts as its own."
    )
    yield "Actions of other policies on the same items are not looked at."
    bases = {
        rate.basis
        for one in found.after.rates.actions
        for rate in (one.precision, one.recall)
        if rate.value is not None
    }
    if "judged" in bases:
        yield (
            "Precision, recall and the share of violating items are those of the judged items. Nobody says how these were drawn; reviewers mostly "
            "see what was flagged, and then recall is too high. A weight for each judged item makes them rates of all kept items."
        )
    if found.source == "scores":
        yield (
            "Kept scores do not tell how many parts an item had, nor that a detector had none beside a match: what rests on either is as it was, or "
            "left out."
        )
    if found.after.loads.days:
        yield "Days are in UTC; the first and the last may be parts of one."
    if any(len(set(one.values()) | {0.0}) > 1 for one in found.numeric.values()):
        yield "Some items were encoded on another numeric class than a lock was certified on: within its ε of a threshold they get review at most."
    if found.revisions.keys() - {lock.revision for lock in trial.locks}:
        yield f"The log holds verdicts of {len(found.revisions)} revisions of the policy; only those asked for are counted."
    for lock in trial.locks:
        if lock.policy_hash != policy.content_hash:
            yield (
                f"Revision {lock.revision} was compiled from another text of the policy than {policy.path.name} has now: its budgets are those it was "
                "certified with, none where it was not; the stated prevalence is the file's."
            )
    if policy.quota or policy.rollout.share < 1.0:
        yield "Quota and rollout are not applied."

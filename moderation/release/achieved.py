"""What a policy achieved on decided items whose targets are known: counts, intervals and mistakes. A check, no guarantee."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moderation.decision import Decision, Verdict
from moderation.policy.lock import LockedAction
from moderation.release.shares import Share, share


@dataclass(frozen=True, slots=True)
class Known:
    """One decided item whose truth is known: `target` by policy id, absent where people could not agree.

    `counts` marks the one item of each cluster that stands for it in an interval; the others are more pictures of the same
    object, or repeats.
    """

    item_id: str
    cluster: str
    targets: Mapping[str, bool]
    counts: bool


@dataclass(frozen=True, slots=True)
class Achieved:
    """One action's threshold on the known items: `share` counts one item a cluster, `items` counts every item."""

    action: str
    metric: str
    promised: float
    share: Share
    items: Share

    @property
    def agrees(self) -> bool:
        """Whether the interval leaves room for the promise."""
        return self.share.high >= self.promised


def verdict_of(decision: Decision, policy: str) -> Verdict | None:
    """The policy's verdict in a decision; None where the item was out of its scope."""
    return next((one for one in decision.verdicts if one.policy == policy), None)


def achieved(
    policy: str, actions: Iterable[LockedAction], known: Sequence[Known], decisions: Sequence[Decision]
) -> tuple[Achieved, ...]:
    """What each certified action of a policy achieved, computed from the decisions alone; others are left out.

    Items whose target under the policy is unknown, and items without a score, are left out of both counts.
    """
    rows = [(one, verdict_of(made, policy)) for one, made in zip(known, decisions, strict=True)]
    scored = [
        (one.targets[policy], verdict.score, one.counts)
        for one, verdict in rows
        if verdict is not None and verdict.score is not None and policy in one.targets
    ]
    found = []
    for action in actions:
        cut = action.threshold
        if cut is None:
            continue
        # Of precision the trials are what was flagged; of recall, what violates.
        pairs = [
            (target, target and score >= cut, counts)
            for target, score, counts in scored
            if (score >= cut if action.metric == "precision" else target)
        ]
        of_objects = share(sum(hit for _, hit, counts in pairs if counts), sum(counts for *_, counts in pairs))
        of_items = share(sum(hit for _, hit, _ in pairs), len(pairs))
        found.append(Achieved(action.action, action.metric, action.at_least, of_objects, of_items))
    return tuple(found)

"""One test made ready to run: the items to judge, and what their verdicts mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from moderation.decision import Outcome, Verdict
from moderation.item import ContentItem

UNCERTIFIED = "uncertified"
FLAGGED = frozenset({Outcome.MATCH, Outcome.REVIEW})

Verdicts = Sequence[Verdict | None]  # none where the item has nothing in the policy's scope


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a test holds, what was expected and found; `score` and `threshold` where it is about a single item.

    `unjudged` says that an item had no verdict, or an error for one.
    """

    holds: bool
    expected: str
    found: str
    message: str = ""
    score: float | None = None
    threshold: float | None = None
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """One test: `items` are read when their turn comes; `answer` takes their verdicts, in order.

    With `batches` the items are encoded anew in batches of each of these sizes, and `answer` takes the verdicts of all, one size after
    the other. `groups` are the values of attributes that its items have.
    """

    suite: str
    id: str
    kind: str
    items: Sequence[Callable[[], ContentItem]]
    answer: Callable[[Verdicts], Answer]
    covers: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)


def outcome_of(verdict: Verdict | None) -> str:
    """A verdict's outcome in words."""
    return verdict.outcome.value if verdict else "out of scope"


def unjudged(verdict: Verdict | None) -> bool:
    """Whether nothing was found out about the item."""
    return verdict is None or verdict.outcome is Outcome.ERROR

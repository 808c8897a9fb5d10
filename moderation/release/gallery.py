"""Which decided pictures a report shows for one policy, and what it says about each: mistakes before successes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from moderation.decision import Decision, Outcome, Verdict
from moderation.release.achieved import Known, verdict_of

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Card:
    """One decided item under one policy, with its picture and what is known of it (`target` None: people disagree)."""

    item_id: str
    picture: bytes
    shows: str
    target: bool | None
    verdict: Verdict
    seen: int


@dataclass(frozen=True, slots=True)
class Group:
    """Cards under one heading; `total` counts all of them, `cards` holds those shown."""

    name: str
    title: str
    note: str
    total: int
    cards: tuple[Card, ...]


def cards(
    policy: str, known: Sequence[Known], decisions: Sequence[Decision], pictures: Sequence[bytes]
) -> tuple[Card, ...]:
    """One card for each different picture that the policy judged, in the order they came; `seen` counts its items."""
    found: dict[bytes, Card] = {}
    for one, made, picture in zip(known, decisions, pictures, strict=True):
        verdict = verdict_of(made, policy)
        if verdict is None:
            continue
        before = found.get(picture)
        seen = before.seen + 1 if before else 1
        first = before or Card(one.item_id, picture, one.cluster, one.targets.get(policy), verdict, 0)
        found[picture] = replace(first, seen=seen)
    return tuple(found.values())


def groups(shown: Sequence[Card], *, limit: int = SHOWN) -> tuple[Group, ...]:
    """The headings of one policy's gallery; a heading that nothing stands under is kept, so that its absence is seen."""
    headings = _UNDECIDED if all(card.verdict.error == "uncertified" for card in shown) else _HEADINGS
    return tuple(_group(heading, shown, limit) for heading in headings)


@dataclass(frozen=True, slots=True)
class _Heading:
    name: str
    title: str
    note: str
    outcome: Outcome
    target: bool | None = None  # None: whatever is known

    def covers(self, card: Card) -> bool:
        """Whether the card stands under this heading."""
        return card.verdict.outcome is self.outcome and self.target in {None, card.target}


_HEADINGS = (
    _Heading(
        "false-match",
        "Acted on by mistake",
        "Benign, but at or above the threshold of an action that needs no reviewer.",
        Outcome.MATCH,
        target=False,
    ),
    _Heading(
        "missed",
        "Missed",
        "Violating, but below every threshold: nobody would have looked.",
        Outcome.NO_MATCH,
        target=True,
    ),
    _Heading("match", "Acted on rightly", "Violating, and at or above the threshold.", Outcome.MATCH, target=True),
    _Heading("review", "Sent to review", "A person decides. Highest scores first.", Outcome.REVIEW),
    _Heading(
        "near",
        "Near misses",
        "Benign and let through, closest to the lowest threshold.",
        Outcome.NO_MATCH,
        target=False,
    ),
    _Heading(
        "error", "Could not be judged", "An error is an outcome of its own, never a score of zero.", Outcome.ERROR
    ),
)
_UNDECIDED = (
    _Heading(
        "uncertified",
        "Highest scores",
        "No threshold is certified, so nothing was decided. These are the pictures the policy would look at first.",
        Outcome.ERROR,
    ),
)


def _group(heading: _Heading, shown: Iterable[Card], limit: int) -> Group:
    members = sorted(
        (card for card in shown if heading.covers(card)), key=lambda card: (-(card.verdict.score or 0.0), card.item_id)
    )
    return Group(heading.name, heading.title, heading.note, len(members), tuple(members[:limit]))

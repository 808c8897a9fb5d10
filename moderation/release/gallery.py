"""Which decided pictures a report shows for one policy, and what it says about each: mistakes before successes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

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
    decision_action: str
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
        first = before or Card(one.item_id, picture, one.cluster, one.targets.get(policy), verdict, made.action, 0)
        found[picture] = Card(
            first.item_id, picture, first.shows, first.target, first.verdict, first.decision_action, seen
        )
    return tuple(found.values())


def groups(shown: Sequence[Card], *, limit: int = SHOWN) -> tuple[Group, ...]:
    """The headings of one policy's gallery; a heading that nothing stands under is kept, so that its absence is seen."""
    if all(card.verdict.error == "uncertified" for card in shown):
        return (_uncertified(shown, limit),)
    return (
        _group(
            "false-match",
            "Acted on by mistake",
            "Benign, but at or above the threshold of an action that needs no reviewer.",
            shown,
            lambda card: card.verdict.outcome is Outcome.MATCH and card.target is False,
            limit,
        ),
        _group(
            "missed",
            "Missed",
            "Violating, but below every threshold: nobody would have looked.",
            shown,
            lambda card: card.verdict.outcome is Outcome.NO_MATCH and card.target is True,
            limit,
        ),
        _group(
            "match",
            "Acted on rightly",
            "Violating, and at or above the threshold.",
            shown,
            lambda card: card.verdict.outcome is Outcome.MATCH and card.target is True,
            limit,
        ),
        _group(
            "review",
            "Sent to review",
            "Between the thresholds: a person decides. Highest scores first.",
            shown,
            lambda card: card.verdict.outcome is Outcome.REVIEW,
            limit,
        ),
        _group(
            "near",
            "Near misses",
            "Benign and let through, closest to the lowest threshold.",
            shown,
            lambda card: card.verdict.outcome is Outcome.NO_MATCH and card.target is False,
            limit,
        ),
        _group(
            "error",
            "Could not be judged",
            "An error is an outcome of its own, never a score of zero.",
            shown,
            lambda card: card.verdict.outcome is Outcome.ERROR,
            limit,
        ),
    )


def _uncertified(shown: Sequence[Card], limit: int) -> Group:
    note = "No threshold is certified, so nothing was decided. These are the pictures the policy would look at first."
    return _group("uncertified", "Highest scores", note, shown, lambda _card: True, limit)


def _group(
    name: str, title: str, note: str, shown: Iterable[Card], belongs: Callable[[Card], bool], limit: int
) -> Group:
    members = sorted((card for card in shown if belongs(card)), key=lambda card: (-(card.verdict.score or 0.0), card.item_id))
    return Group(name, title, note, len(members), tuple(members[:limit]))

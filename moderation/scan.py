"""Entries to decisions, one for each: the pipeline's, or an error under every policy for what has no content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moderation.decision import Abstention, Decision
from moderation.errors import ItemError
from moderation.item import ContentItem
from moderation.pipeline import Pipeline
from moderation.policy.decide import Finding, answer, judge
from moderation.source.entry import Entry

BATCH = 32  # entries that are decided together


def decide_entries(
    pipeline: Pipeline,
    batch: Sequence[Entry],
    *,
    order: Sequence[str],
    unread: Callable[[Entry, ItemError], object] = lambda _entry, _error: None,
) -> list[Decision]:
    """One decision for each entry, in order; `order` are all actions by force, and `unread` hears of what could not be read."""
    items: list[ContentItem] = []
    missing: dict[int, ItemError] = {}
    for number, entry in enumerate(batch):
        try:
            items.append(entry.read())
        except ItemError as error:
            missing[number] = error
            unread(entry, error)
    decided = iter(pipeline.decide(items) if items else ())
    return [
        _refuse(pipeline, entry.id, missing[number], order) if number in missing else next(decided)
        for number, entry in enumerate(batch)
    ]


def _refuse(pipeline: Pipeline, item: str, error: ItemError, order: Sequence[str]) -> Decision:
    """The decision on an item whose content is not there: an error under every policy, by the one rule for errors."""
    missing = [Finding("", Abstention(error.reason, cause=error.cause))]
    verdicts = tuple(judge(one.terms, missing, parts=1, order=order) for one in pipeline.running.policies)
    return answer(item, verdicts, order, encoders={})

"""Entries to decisions, one for each: the pipeline's, or an error under every policy for what has no content."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moderation.decision import Abstention, Decision
from moderation.errors import ItemError
from moderation.item import ContentItem
from moderation.pipeline import Pipeline
from moderation.policy.decide import Finding, answer, judge
from moderation.source.entry import Entry
from moderation.source.together import Read, read_together

BATCH = 32  # entries that are decided together, fewer where they are large
Unread = Callable[[Entry, ItemError], object]


def decide_entries(
    pipeline: Pipeline,
    batch: Sequence[Entry],
    *,
    order: Sequence[str],
    unread: Unread = lambda _entry, _error: None,
) -> list[Decision]:
    """One decision for each entry, in order; `order` are all actions by force, and `unread` hears of what could not be read."""
    decisions: list[Decision] = []
    for read in read_together(batch, len(batch)):
        decisions += _decided(pipeline, read, order, unread)
    return decisions


def _decided(pipeline: Pipeline, read: Sequence[Read], order: Sequence[str], unread: Unread) -> list[Decision]:
    for entry, found in read:
        if isinstance(found, ItemError):
            unread(entry, found)
    decided = iter(pipeline.decide([one for _, one in read if isinstance(one, ContentItem)]))
    return [
        next(decided) if isinstance(found, ContentItem) else _refuse(pipeline, entry.id, found, order)
        for entry, found in read
    ]


def _refuse(pipeline: Pipeline, item: str, error: ItemError, order: Sequence[str]) -> Decision:
    """The decision on an item whose content is not there: an error under every policy, by the one rule for errors."""
    missing = [Finding("", Abstention(error.reason, cause=error.cause))]
    verdicts = tuple(judge(one.terms, missing, parts=1, order=order) for one in pipeline.running.policies)
    return answer(item, verdicts, order, encoders={})

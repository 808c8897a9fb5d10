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
BATCH_BYTES = 128_000_000  # of their content in memory at once, after which fewer are decided together


def decide_entries(
    pipeline: Pipeline,
    batch: Sequence[Entry],
    *,
    order: Sequence[str],
    unread: Callable[[Entry, ItemError], object] = lambda _entry, _error: None,
) -> list[Decision]:
    """One decision for each entry, in order; `order` are all actions by force, and `unread` hears of what could not be read.

    No more than BATCH_BYTES of content, and one item, are in memory: those that were read are decided before the next is.
    """
    decisions: list[Decision] = []
    read: list[ContentItem | Decision] = []
    held = 0
    for entry in batch:
        try:
            item = entry.read()
        except ItemError as error:
            unread(entry, error)
            read.append(_refuse(pipeline, entry.id, error, order))
            continue
        read.append(item)
        held += sum(len(part.content) for part in item.parts)
        del item
        if held >= BATCH_BYTES:
            decisions += _decided(pipeline, read)
            read, held = [], 0
    return decisions + _decided(pipeline, read)


def _decided(pipeline: Pipeline, read: Sequence[ContentItem | Decision]) -> list[Decision]:
    items = [one for one in read if isinstance(one, ContentItem)]
    decided = iter(pipeline.decide(items) if items else ())
    return [next(decided) if isinstance(one, ContentItem) else one for one in read]


def _refuse(pipeline: Pipeline, item: str, error: ItemError, order: Sequence[str]) -> Decision:
    """The decision on an item whose content is not there: an error under every policy, by the one rule for errors."""
    missing = [Finding("", Abstention(error.reason, cause=error.cause))]
    verdicts = tuple(judge(one.terms, missing, parts=1, order=order) for one in pipeline.running.policies)
    return answer(item, verdicts, order, encoders={})

"""Entries to decisions, one for each, all of them the pipeline's: what has no content is an item of which nothing was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from moderation.decision import Decision
from moderation.errors import ItemError
from moderation.item import ContentItem
from moderation.pipeline import Pipeline
from moderation.source.entry import Entry
from moderation.source.together import Read, read_together

BATCH = 32  # entries that are decided together, fewer where they are large
Unread = Callable[[Entry, ItemError], object]
Pieces = Callable[[Sequence[Read]], Iterable[Sequence[Read]]]


def decide_entries(
    pipeline: Pipeline,
    entries: Iterable[Entry],
    *,
    unread: Unread = lambda _entry, _error: None,
    pieces: Pieces = lambda read: (read,),
) -> Iterator[tuple[Entry, Decision]]:
    """Each entry with its decision, in order; `unread` hears of what could not be read: an error under every policy.

    An entry may hold its content: no more of them are asked for than are decided together. `pieces` takes apart what was read to be decided
    together, and is asked for the next piece once the one before is decided.
    """
    for read in read_together(entries, BATCH):
        for piece in pieces(read):
            yield from zip([entry for entry, _ in piece], _decided(pipeline, piece, unread), strict=True)


def _decided(pipeline: Pipeline, read: Sequence[Read], unread: Unread) -> list[Decision]:
    for entry, found in read:
        if isinstance(found, ItemError):
            unread(entry, found)
    return pipeline.decide(
        [found if isinstance(found, ContentItem) else ContentItem.missing(entry.id, found) for entry, found in read]
    )

"""Entries read so many together that what is in memory has a bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from moderation.errors import ItemError
from moderation.item import ContentItem
from moderation.source.entry import Entry

BYTES = 128_000_000  # of content in memory at once, after which no more is read

Read = tuple[Entry, ContentItem | ItemError]


def read_together(entries: Iterable[Entry], most: int) -> Iterator[list[Read]]:
    """Every entry in order with its item, or why it has none: `most` together, fewer where they hold BYTES.

    No more than BYTES of content, and one item, are in memory: a list is emptied when the next is asked for.
    """
    read: list[Read] = []
    held = 0
    for entry in entries:
        one = _read(entry)
        held += sum(len(part.content) for part in one.parts) if isinstance(one, ContentItem) else 0
        read.append((entry, one))
        del entry, one  # a row of a table holds its content
        if held >= BYTES or len(read) == most:
            yield read
            read.clear()
            held = 0
    if read:
        yield read


def _read(entry: Entry) -> ContentItem | ItemError:
    try:
        return entry.read()
    except ItemError as error:
        return error

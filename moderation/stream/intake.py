"""Records whose content lies elsewhere into items: several at once, in their order, each within an allowance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from moderation.item import ContentItem, unfetchable
from moderation.item_json import Fetch
from moderation.stream.batch import Record

MOST_REFERENCES = 16  # of one record
One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads records with `read`, which gets the content of references from `fetch`.

    A record may have MOST_REFERENCES of them, and content of `most_bytes` behind them; `at_once` records are read at a time, whichever
    batch they are of. What is read and not asked for yet is at most that many records of each batch.
    """

    read_item: Callable[..., ContentItem | None]
    fetch: Fetch
    pool: ThreadPoolExecutor
    at_once: int
    most_bytes: int

    def read(self, record: Record) -> ContentItem | None:
        """The item of a record; raises ItemError as `read_item` does, and where a record asks for too much."""
        return self.read_item(record, fetch=_Allowance(self.fetch, self.most_bytes).fetch)

    def each(self, function: Callable[[One], Other], things: Sequence[One], /) -> Iterator[Other]:
        """The function's answers, in order, some of them made ahead."""
        ahead: deque[Future[Other]] = deque()
        for thing in things:
            ahead.append(self.pool.submit(function, thing))
            if len(ahead) == self.at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


@dataclass(slots=True)
class _Allowance:
    """What one record may still fetch."""

    source: Fetch
    size: int
    references: int = MOST_REFERENCES

    def fetch(self, reference: str) -> bytes:
        if self.references == 0:
            raise unfetchable("too_many_references", f"more than {MOST_REFERENCES} references in one record")
        content = self.source(reference)
        self.references -= 1
        self.size -= len(content)
        if self.size < 0:
            raise unfetchable("too_many_bytes", "the references of one record are too large together")
        return content

"""One request's items on their way to decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from moderation.decision import Decision
from moderation.item import ContentItem, Modality
from moderation.pipeline import Pipeline
from moderation.server.ticket import Found, Ticket


@dataclass(slots=True, eq=False)
class Job:
    """One request's items on their way: `answer` gives one decision for each, or raises what `Batcher.ask` does."""

    pipeline: Pipeline
    items: Sequence[ContentItem]
    caller: str
    deadline: float
    answer: Future[list[Decision]] = field(default_factory=Future)
    whole: float = 0.0  # seconds that the request had
    ticket: Ticket | None = None
    found: Found = field(default_factory=dict)
    alone: Found = field(default_factory=dict)  # what was made of parts that are near to a threshold, each by itself
    read_seconds: float = 0.0  # of each item
    place: int = -1  # in the queue of those that are decided next

    @property
    def kind(self) -> Pipeline:
        """What decides it: jobs of one pipeline are decided together."""
        return self.pipeline

    @property
    def extra(self) -> float:
        """How many items it has, which is what deciding takes."""
        return len(self.items)

    @property
    def size(self) -> int:
        """Bytes of all its parts."""
        return sum(len(part.content) for item in self.items for part in item.parts)

    @property
    def to_read(self) -> Counter[Modality]:
        """How many of its parts readers are shown, by modality."""
        read = self.pipeline.readers.modalities if self.pipeline.readers else frozenset()
        return Counter(part.modality for item in self.items for part in item.parts if part.modality in read)

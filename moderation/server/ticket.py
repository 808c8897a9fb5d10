"""What one request waits for, and the parts that are waited for."""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from moderation.embedding.prepared import Content, Outcome
from moderation.item import Part
from moderation.server.costs import Kind

Found = dict[Content, Outcome]


@dataclass(slots=True, eq=False)
class Ticket:
    """What one request waits for: `done` gives the outcome of each of its parts, or raises OverloadedError or EncoderError."""

    caller: str
    deadline: float
    whole: float  # seconds that its request had in all
    done: Future[Found] = field(default_factory=Future)
    waits: list[Waiting] = field(default_factory=list)  # parts that it was put in a queue for
    _found: Found = field(default_factory=dict)
    _left: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, steps: int) -> None:
        """So many more steps to wait for."""
        with self._lock:
            self._left += steps

    def step(self, found: Found) -> None:
        """One step is over, with what it found; the last one completes the ticket."""
        with self._lock:
            self._found.update(found)
            self._left -= 1
            last = not self._left
        if last:
            with suppress(InvalidStateError):  # it failed, or nobody waits
                self.done.set_result(self._found)

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        with suppress(InvalidStateError):
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Waiting:
    """One part that nobody has a vector of, and who waits for it."""

    key: str
    part: Part
    kind: Kind
    caller: str
    tickets: list[Ticket]
    queued: bool = True
    place: int = -1  # in the queue
    extra: float = 0.0  # seconds that it takes beside a usual one of its kind
    since: float = 0.0  # when it came

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return len(self.part.content)

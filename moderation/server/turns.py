"""What waits for one thread that does one thing at a time, fairly between callers: who had the least of it for its weight is next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from moderation.item import Modality
from moderation.server.costs import Kind
from moderation.server.fair import FairQueue

Thing = TypeVar("Thing")
_KIND = Kind("", Modality.IMAGE)  # nothing runs together here, so that all are of one kind


@dataclass(slots=True, eq=False)
class _Turn(Generic[Thing]):
    thing: Thing
    caller: str
    extra: float  # all that it costs, in parts
    place: int = -1
    kind: Kind = _KIND
    size: int = 0


class Turns(Generic[Thing]):
    """A queue whose order is fair by what things cost, in parts. Safe to use from several threads."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._queue: FairQueue[_Turn[Thing]] = FairQueue(lambda one: one.extra, weights)
        self._changed, self._closed = threading.Condition(), False

    def put(self, thing: Thing, *, caller: str, parts: int) -> None:
        """Let it wait for its turn."""
        with self._changed:
            self._queue.push(_Turn(thing, caller, parts))
            self._changed.notify()

    def get(self) -> Thing | None:
        """What is next, once something waits; None where nothing does, nor ever will."""
        with self._changed:
            while (next_ := self._queue.pop()) is None and not self._closed:
                self._changed.wait()
            return next_.thing if next_ else None

    def get_nowait(self) -> Thing | None:
        """What is next. Raises queue.Empty where nothing waits."""
        with self._changed:
            if next_ := self._queue.pop():
                return next_.thing
            raise queue.Empty

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def qsize(self) -> int:
        """How many things wait."""
        return len(self._queue)

    def of(self, caller: str) -> int:
        """How many things of a caller wait."""
        with self._changed:
            return sum(self._queue.of(caller).values())

    def ahead(self, caller: str, parts: int) -> float:
        """Parts until so many new ones of a caller are done, by what waits now: within its fair share it waits for nobody else."""
        with self._changed:
            fair = (self._queue.extra_of(caller) + parts) / self._queue.share(caller)
            lag = self._queue.lag(caller)
            return lag + fair if lag else min(self._queue.extra + parts, fair)

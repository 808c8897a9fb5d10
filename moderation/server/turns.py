"""What waits for one thread that does one thing at a time, fairly between callers: who had the least of it for its weight is next."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from moderation.item import Modality
from moderation.server.fair import FairQueue

Thing = TypeVar("Thing")


@dataclass(slots=True, eq=False)
class _Turn(Generic[Thing]):
    thing: Thing
    caller: str
    parts: Counter[Modality]
    size: int
    place: int = -1
    kind: None = None  # nothing runs together here
    extra: float = 0.0


class Turns(Generic[Thing]):
    """A queue whose order is fair by the seconds that things took, which `charge` tells. Safe to use from several threads.

    `seconds` tells what so many parts of each modality are thought to take, in proportion to their number.
    """

    def __init__(self, weights: Mapping[str, float], seconds: Callable[[Mapping[Modality, int]], float]) -> None:
        self._queue: FairQueue[_Turn[Thing]] = FairQueue(lambda _: 0.0, weights)
        self._seconds, self._waiting = seconds, dict[Thing, _Turn[Thing]]()
        self._parts: defaultdict[str, Counter[Modality]] = defaultdict(Counter)  # that wait, by caller
        self._changed, self._closed = threading.Condition(), False

    def put(self, thing: Thing, *, caller: str, parts: Counter[Modality], size: int = 0) -> None:
        """Let it wait for its turn, with so many bytes."""
        with self._changed:
            self._waiting[thing] = turn = _Turn(thing, caller, parts, size)
            self._parts[caller] += parts
            self._queue.push(turn)
            self._changed.notify()

    def discard(self, thing: Thing) -> None:
        """It waits no more, if it did."""
        with self._changed:
            if turn := self._waiting.get(thing):
                self._queue.discard(turn)
                self._left(turn)

    def charge(self, caller: str, seconds: float) -> None:
        """What a caller had waiting took so long, once it was its turn."""
        with self._changed:
            self._queue.charge(caller, seconds)

    def get(self) -> Thing | None:
        """What is next, once something waits; None where nothing does, nor ever will."""
        with self._changed:
            while (next_ := self._queue.pop()) is None and not self._closed:
                self._changed.wait()
            return self._left(next_) if next_ else None

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def qsize(self) -> int:
        """How many things wait."""
        return len(self._queue)

    @property
    def bytes(self) -> int:
        """Of all that wait."""
        return self._queue.held.bytes

    def of(self, caller: str) -> int:
        """How many things of a caller wait."""
        with self._changed:
            return self._queue.of(caller).count

    def has_room(self, caller: str, size: int, *, most: int, most_bytes: int) -> bool:
        """Whether one more of a caller may wait, of so many bytes: it has fewer than `most`, and `most_bytes` are for all, as `fair.room` says."""
        with self._changed:
            return self.of(caller) < most and self._queue.has_room(
                caller, 1, size, most=math.inf, most_bytes=most_bytes
            )

    def ahead(self, caller: str, parts: Counter[Modality]) -> float:
        """Seconds until these new parts of a caller are done, by what waits now: within its fair share it waits for nobody else."""
        with self._changed:
            own, new = self._seconds(self._parts.get(caller, {})), self._seconds(parts)
            return self._queue.ahead(caller, own + new, sum(map(self._seconds, self._parts.values())) + new)

    def _left(self, turn: _Turn[Thing]) -> Thing:
        del self._waiting[turn.thing]
        self._parts[turn.caller] -= turn.parts  # which keeps none of 0
        if not self._parts[turn.caller]:
            del self._parts[turn.caller]
        return turn.thing

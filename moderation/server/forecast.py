"""How long the device takes for what it has in hand, what waits, and what would be added: by the costs of batches, and of large pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from moderation.server.costs import Costs, Kind
from moderation.server.fair import FairQueue
from moderation.server.ticket import Waiting

WAIT = 3.8  # lone parts' time: about as long as a light caller's part takes beside others, from when it came


class Forecast:
    """What is predicted of a queue whose batches have at most `largest` parts, fewer where more gain nothing. Told and asked by who holds the queue's lock.

    While there are `light` callers, a batch takes no longer than what leaves time for a lone part of theirs.
    """

    light: Collection[str] = ()

    def __init__(self, costs: Costs, queue: FairQueue[Waiting], *, largest: int, clock: Callable[[], float]) -> None:
        self._costs, self._queue, self._largest, self._clock = costs, queue, largest, clock
        self._until: float | None = None  # when the running batch should end

    def began(self, kind: Kind, batch: Sequence[Waiting]) -> float:
        """This batch runs from now on, for so many seconds, as is thought."""
        seconds = self._costs.seconds(kind, len(batch)) + sum(one.extra for one in batch)
        self._until = self._clock() + seconds
        return seconds

    def ended(self) -> None:
        """No batch runs."""
        self._until = None

    def largest(self, kind: Kind) -> int:
        """Parts of a full batch: no more than it is worth waiting for."""
        most = self.of_light(kind)
        return min(most, self._costs.within(kind, WAIT - 1)) if self.light else most

    def of_light(self, kind: Kind) -> int:
        """Parts of a full batch of light callers alone."""
        return min(self._largest, self._costs.largest(kind))

    def joins(self, batch: Sequence[Waiting], *, light: bool = False) -> bool:
        """Whether a part may join a batch; a `light` caller's own is kept out by no other caller's.

        Of large pictures no more than double its time, so that others' turns come; and it keeps no light caller waiting for longer than it should.
        """
        kind, extra = batch[0].kind, sum(one.extra for one in batch)
        if len(batch) >= (self.of_light(kind) if light else self.largest(kind)) or extra > self.full(kind):
            return False
        if light or not self.light:
            return True
        lone, now = self._costs.seconds(kind, 1), self._clock()
        took = max((now - one.since for one in batch if one.caller in self.light), default=0.0)
        late = took > (WAIT - 1) * lone  # then nobody gains by a short one
        return late or not took or took + extra + self._costs.seconds(kind, len(batch) + 1) <= WAIT * lone

    def full(self, kind: Kind) -> float:
        """Seconds of a full batch."""
        return self._costs.seconds(kind, self.largest(kind))

    def each(self, kind: Kind) -> float:
        """Seconds of one part of a full batch."""
        return self.full(kind) / self.largest(kind)

    def alone(self, new: Mapping[Kind, int], extra: float) -> float:
        """Seconds of so many parts on an idle device; `extra` is what large pictures take beside."""
        return sum(self._costs.seconds(kind, count) for kind, count in new.items()) + extra

    def ahead(self, caller: str, new: Mapping[Kind, int], extra: float = 0.0) -> float:
        """How long so many new parts of a caller would take, by what runs and what waits now.

        Whoever joins a queue is charged a whole batch, since others may fill it up; who finds the device idle is charged its own.
        """
        if self._until is None and not self._queue:
            return self.alone(new, extra)
        own, everything = (
            self._whole(held.kinds, new) + held.extra + extra for held in (self._queue.of(caller), self._queue.held)
        )
        return self._rest() + self._queue.ahead(caller, own, everything)  # what has begun is waited for in any case

    def drain(self) -> float:
        """Seconds until all that waits is done."""
        return self._rest() + self._whole(self._queue.held.kinds) + self._queue.held.extra

    def _rest(self) -> float:
        """Of the running batch; one that is overdue may take as long again as it is."""
        return 0.0 if self._until is None else abs(self._until - self._clock())

    def _whole(self, counts: Mapping[Kind, int], new: Mapping[Kind, int] = MappingProxyType({})) -> float:
        """Seconds of whole batches for so many parts and new ones."""
        seconds = 0.0
        for kind in {*counts, *new}:
            if count := counts.get(kind, 0) + new.get(kind, 0):
                seconds += self.full(kind) * -(-count // self.largest(kind))
        return seconds

"""A queue that is fair between callers: of those that want the device, the one that had the least of it for its weight is next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain, count, islice, zip_longest
from typing import Any, Generic, Protocol, TypeVar

_ROOM = 4.0  # times what is left free that one of several callers may have


def room(*, most: float, held: float, own: float, new: float, several: bool) -> bool:
    """Whether so much more of a caller may be held, of which `own` is `held` already, and at most `most` of all.

    Of `several` callers none may have more than four times what is left free: who takes all it gets ends at four fifths, and who comes finds room.
    Source: Choudhury, Hahne (1998), dynamic thresholds.
    """
    free = most - held
    return new <= free and (not several or own + new <= _ROOM * free)


class Queued(Protocol):
    """What may wait: of a kind (what runs together, and can be a key), from a caller, of so many bytes, and so many seconds beside what its kind takes."""

    place: int

    @property
    def kind(self) -> Any: ...
    @property
    def caller(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def extra(self) -> float: ...


One = TypeVar("One", bound=Queued)


@dataclass(slots=True)
class Held:
    """How much waits: how many things, in all and by kind, their bytes, and the seconds that they take beside what their kinds do."""

    count: int = 0
    bytes: int = 0
    extra: float = 0.0
    kinds: dict[Any, int] = field(default_factory=dict)

    def add(self, one: Queued) -> None:
        """It waits, too."""
        self.count += 1
        self.bytes += one.size
        self.extra += one.extra
        self.kinds[one.kind] = self.kinds.get(one.kind, 0) + 1

    def drop(self, one: Queued) -> None:
        """It waits no more."""
        self.count -= 1
        self.bytes -= one.size
        self.extra = self.extra - one.extra if self.count else 0.0  # no rounding error outlives the queue
        self.kinds[one.kind] -= 1
        if not self.kinds[one.kind]:
            del self.kinds[one.kind]  # which else would be held for ever


@dataclass(slots=True)
class _Line(Generic[One]):
    """What waits of one caller, by kind and place in time."""

    by_kind: dict[Any, OrderedDict[int, One]] = field(default_factory=dict)
    held: Held = field(default_factory=Held)


_NOTHING = Held()


class FairQueue(Generic[One]):
    """Things by caller. `cost` tells what one costs the device, `weights` a caller's share where it is not 1.

    Start-time fair queueing: a caller that wanted nothing for a while has no claim on that time, and what it had before still counts.
    Callers are kept for ever, so there must not be as many as somebody likes. Source: Goyal, Vin, Cheng (1996).
    """

    def __init__(self, cost: Callable[[One], float], weights: Mapping[str, float] | None = None) -> None:
        self._cost, self._places = cost, count()
        self._weights = {} if weights is None else weights  # which may change
        self._lines: dict[str, _Line[One]] = {}
        self._served: dict[str, float] = {}  # seconds of the device, by weight
        self._now = 0.0  # how much the caller had that was served last
        self.held = Held()

    def __len__(self) -> int:
        return self.held.count

    def push(self, one: One) -> None:
        """Put it at the end of its caller's line."""
        line = self._lines.get(one.caller)
        if line is None:
            line = self._lines[one.caller] = _Line()
            self._served[one.caller] = max(self._now, self._served.get(one.caller, 0.0))
        one.place = next(self._places)
        line.by_kind.setdefault(one.kind, OrderedDict())[one.place] = one
        line.held.add(one)
        self.held.add(one)

    def discard(self, one: One) -> None:
        """It waits no more."""
        line = self._lines[one.caller]
        del line.by_kind[one.kind][one.place]
        self._left(one, line)

    @property
    def callers(self) -> Collection[str]:
        """Who has something waiting."""
        return self._lines.keys()

    def pop(self, kind: Any = None, *, of: Collection[str] | None = None) -> One | None:
        """The next one, or the next one of a kind, or of some callers: each caller's oldest. None where there is none."""
        callers = [
            (self._served[name], name)
            for name, line in self._lines.items()
            if (kind is None or kind in line.by_kind) and (of is None or name in of)
        ]
        if not callers:
            return None
        tag, caller = min(callers)
        if kind is None:  # who only fills up a batch is not whose turn it is
            self._now = tag
        line = self._lines[caller]
        chosen = min(line.by_kind, key=lambda one: next(iter(line.by_kind[one]))) if kind is None else kind
        _, one = line.by_kind[chosen].popitem(last=False)
        self._served[caller] += self._cost(one) / self.weight(caller)
        self._left(one, line)
        return one

    def refund(self, one: One) -> None:
        """It was popped in vain: its caller had nothing of the device."""
        self._served[one.caller] -= self._cost(one) / self.weight(one.caller)

    def charge(self, caller: str, seconds: float) -> None:
        """A caller had so much beside what `cost` told."""
        self._served[caller] += seconds / self.weight(caller)

    def soon(self, most: int) -> list[One]:
        """About what comes next: the oldest of each caller in turn."""
        lines = [
            [one for waiting in line.by_kind.values() for one in islice(waiting.values(), most)]
            for line in self._lines.values()
        ]
        turns = chain.from_iterable(zip_longest(*lines))
        return list(islice((one for one in turns if one is not None), most))

    def of(self, caller: str) -> Held:
        """How much of a caller waits."""
        line = self._lines.get(caller)
        return line.held if line else _NOTHING

    def has_room(self, caller: str, count: int, size: int, *, most: float, most_bytes: float) -> bool:
        """Whether so many new ones of a caller, of so many bytes, may wait, too, as `room` says."""
        several, own = len(self._weights) > 1, self.of(caller)
        counted = room(most=most, held=self.held.count, own=own.count, new=count, several=several)
        return counted and room(most=most_bytes, held=self.held.bytes, own=own.bytes, new=size, several=several)

    def lag(self, caller: str) -> float:
        """Seconds of the device that others have before it is this caller's turn again, since it had more than they."""
        others = sum(self.weight(one) for one in self._lines if one != caller)
        return others * max(0.0, self._served.get(caller, 0.0) - self._now)

    def ahead(self, caller: str, own: float, everything: float) -> float:
        """Until `own`, which is all of a caller's, is done, of `everything` that waits: within its fair share it waits for nobody else.

        Where others come first, so does what they send later.
        """
        fair, lag = own / self.share(caller), self.lag(caller)
        return lag + fair if lag else min(everything, fair)

    def share(self, caller: str) -> float:
        """The caller's part of the device among those that wait, in (0, 1]."""
        others = sum(self.weight(one) for one in self._lines if one != caller)
        return self.weight(caller) / (self.weight(caller) + others)

    def weight(self, caller: str) -> float:
        """What a caller counts."""
        return self._weights.get(caller, 1.0)

    def _left(self, one: One, line: _Line[One]) -> None:
        if not line.by_kind[one.kind]:
            del line.by_kind[one.kind]
        line.held.drop(one)
        self.held.drop(one)
        if not line.held.count:
            del self._lines[one.caller]

"""A queue that is fair between callers: of those that want the device, the one that had the least of it for its weight is next."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from moderation.server.costs import Kind


class Queued(Protocol):
    """What may wait: of a kind, from a caller, of so many bytes."""

    @property
    def kind(self) -> Kind: ...
    @property
    def caller(self) -> str: ...
    @property
    def size(self) -> int: ...


One = TypeVar("One", bound=Queued)


@dataclass(slots=True, eq=False)
class _Line(Generic[One]):
    """One caller's own: first come, first served. What was discarded stands in it until its turn."""

    waiting: deque[One] = field(default_factory=deque)
    kinds: Counter[Kind] = field(default_factory=Counter)  # of those that were not discarded
    served: float = 0.0  # seconds of the device, by weight


class FairQueue(Generic[One]):
    """Things by caller. `cost` tells what one of a kind costs the device, `weights` a caller's share where it is not 1.

    Start-time fair queueing: a caller that wanted nothing for a while has no claim on that time. Source: Goyal, Vin, Cheng (1996).
    """

    def __init__(self, cost: Callable[[Kind], float], weights: Mapping[str, float] | None = None) -> None:
        self._cost, self._weights = cost, weights or {}
        self._lines: dict[str, _Line[One]] = {}
        self._gone: set[int] = set()  # discarded, by identity
        self._now = 0.0  # how much the caller had that was served last
        self.kinds: Counter[Kind] = Counter()
        self.bytes = 0

    def __len__(self) -> int:
        return self.kinds.total()

    def push(self, one: One) -> None:
        """Put it at the end of its caller's line."""
        line = self._lines.get(one.caller)
        if line is None:
            line = self._lines[one.caller] = _Line(served=self._now)
        line.waiting.append(one)
        line.kinds[one.kind] += 1
        self.kinds[one.kind] += 1
        self.bytes += one.size

    def discard(self, one: One) -> None:
        """It waits no more."""
        self._gone.add(id(one))
        self._leave(one)

    def pop(self, kind: Kind | None = None) -> One | None:
        """The next one; with `kind`, of those whose turn in their line it is only such a one. None where there is none."""
        while True:
            first = [
                (line.served, caller)
                for caller, line in self._lines.items()
                if kind is None or line.waiting[0].kind == kind or id(line.waiting[0]) in self._gone
            ]
            if not first:
                return None
            _, caller = min(first)
            line = self._lines[caller]
            one = line.waiting.popleft()
            if not line.waiting:
                del self._lines[caller]
            if id(one) in self._gone:
                self._gone.remove(id(one))
                continue
            self._now = line.served
            line.served += self._cost(one.kind) / self.weight(caller)
            self._leave(one, line)
            return one

    def of(self, caller: str) -> Mapping[Kind, int]:
        """How many of each kind a caller has waiting."""
        line = self._lines.get(caller)
        return line.kinds if line else {}

    def share(self, caller: str) -> float:
        """The caller's part of the device among those that wait, in (0, 1]."""
        others = (one for one, line in self._lines.items() if one != caller and line.kinds.total())
        return self.weight(caller) / (self.weight(caller) + sum(map(self.weight, others)))

    def weight(self, caller: str) -> float:
        """What a caller counts."""
        return self._weights.get(caller, 1.0)

    def _leave(self, one: One, line: _Line[One] | None = None) -> None:
        (line or self._lines[one.caller]).kinds[one.kind] -= 1
        self.kinds[one.kind] -= 1
        self.bytes -= one.size

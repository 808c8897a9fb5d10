"""Threads that must get somewhere: told of is one that has ended, or has been at one thing for much longer than that may take."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

STALLED = 60.0  # seconds that a thing may take beyond what it should

Thing = TypeVar("Thing")


class Watched(threading.Thread):
    """Does `work`, which tells of itself when it begins with a thing, and when it waits for the next."""

    def __init__(self, name: str, work: Callable[[], object], *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(target=work, name=name, daemon=True)
        self._clock, self._until = clock, math.inf

    def begins(self, seconds: float = 0.0) -> None:
        """What it is at from now on may take so long, which is no forecast but a bound; nothing worth mentioning where none is told."""
        self._until = self._clock() + seconds + STALLED

    def rests(self) -> None:
        """It waits for what is next, for ever if need be."""
        self._until = math.inf

    @property
    def stuck(self) -> bool:
        """Whether it gets nowhere."""
        return not self.is_alive() or self._clock() > self._until


class Each(Watched, Generic[Thing]):
    """Does with one thing after the other what is to be done, which may take `seconds`, until there is none."""

    def __init__(
        self,
        name: str,
        take: Callable[[], Thing | None],
        do: Callable[[Thing], object],
        *,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, self._all, clock=clock)
        self._take, self._do, self._seconds = take, do, seconds

    def _all(self) -> None:
        while self._next():  # which holds nothing of it once it is over
            pass

    def _next(self) -> bool:
        thing = self._take()
        if thing:
            self.begins(self._seconds)
            self._do(thing)
            self.rests()
        return bool(thing)

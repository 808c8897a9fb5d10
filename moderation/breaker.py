"""A circuit breaker: a service that fails is left alone for a while, then tried with one call at a time."""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_log = logging.getLogger(__name__)


class State(StrEnum):
    """Closed: every call goes through. Open: none does. Half open: one does, and decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class RestingError(Exception):
    """A call is kept back: the service is left alone for `seconds` more, or is tried by another call just now, where they are 0."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"left alone for {seconds:.1f} s more")
        self.seconds = seconds


@dataclass(slots=True)
class Call:
    """A call that went through; `slow` is known when it is over."""

    slow: bool = False


class Breaker:
    """Opens after `failures` in a row, and tries again after a delay that doubles from `first_delay` to `last_delay` seconds.

    Delays are spread by half, so that workers do not come back together. Safe to call from several threads; `clock` counts seconds. What has a
    `name` is told of in the log, once where it is left alone and once where it is back.
    """

    def __init__(
        self,
        *,
        failures: int = 3,
        first_delay: float = 0.5,
        last_delay: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
        name: str = "",
    ) -> None:
        self._name = name
        self._limit, self._first, self._last, self._clock = failures, first_delay, last_delay, clock
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._failures = self._opened = 0
        self._until = 0.0
        self._probing = False

    @property
    def state(self) -> State:
        """The state as it stands."""
        with self._lock:
            if not self._opened:
                return State.CLOSED
            return State.OPEN if self._clock() < self._until and not self._probing else State.HALF_OPEN

    @contextlib.contextmanager
    def watch(
        self, *, slow: float = math.inf, spares: Callable[[BaseException], bool] = lambda _: False
    ) -> Iterator[Call]:
        """Around one call: it failed where it raises what is not spared, or takes more than `slow` seconds. Raises RestingError."""
        if not self.admits():
            raise RestingError(max(0.0, self._until - self._clock()))
        began, call = self._clock(), Call()
        try:
            yield call
        except BaseException as error:  # also one that was interrupted, or a probe would keep every later call back
            self.succeeded() if spares(error) else self.failed(type(error).__name__)
            raise
        call.slow = self._clock() - began > slow
        self.failed("slow") if call.slow else self.succeeded()

    def admits(self) -> bool:
        """Whether a call may go through now; each one that does must be told to `succeeded` or `failed`."""
        with self._lock:
            if not self._opened:
                return True
            if self._probing or self._clock() < self._until:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """A call came back well."""
        with self._lock:
            returned = self._opened > 0
            self._failures = self._opened = 0
            self._probing = False
        if returned and self._name:
            _log.info("%s is back", self._name)

    def failed(self, why: str = "") -> None:
        """A call failed, or took too long; `why` is a word for the log, without content."""
        with self._lock:
            before = self._opened
            self._failures += 1
            if self._probing or (not self._opened and self._failures >= self._limit):
                delay = min(self._first * 2.0**self._opened, self._last)
                self._until = self._clock() + delay * self._chance.uniform(0.5, 1.0)
                self._opened += 1
                self._probing = False
            left = not before and self._opened
        if left and self._name:
            _log.warning("%s is left alone, and tried again now and then: %s", self._name, why)


class Breakers:
    """A breaker for each name, as `make` makes them; of many names, for the `most` that were asked for last. Safe to call from several threads."""

    def __init__(self, make: Callable[[], Breaker], *, most: int = 1000) -> None:
        self._make, self._most = make, most
        self._of: dict[str, Breaker] = {}
        self._lock = threading.Lock()

    def of(self, name: str) -> Breaker:
        """The breaker of this name: a new one where it was not asked for yet, or long ago."""
        with self._lock:
            self._of[name] = found = self._of.pop(name, None) or self._make()
            if len(self._of) > self._most:
                del self._of[next(iter(self._of))]
            return found

"""How far behind the thread is that answers: what a request has waited before anybody looked at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_FRESH = 0.5  # seconds, and as long as the turn took, that a turn says something of the next one


class Pulse:
    """Times the turns of the event loop, in each of which everything that has arrived is begun. It costs nothing while nobody asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turning = False
        self._took = self._before = 0.0
        self._ended = -_FRESH

    def behind(self) -> float:
        """Seconds that a request which is begun now has waited, about: the shorter of the last two turns, since one large body is no overload.

        To be called in the loop.
        """
        now = self._clock()
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turned, now)
        shorter = min(self._took, self._before)
        return shorter if now - self._ended < _FRESH + self._took else 0.0

    def _turned(self, began: float) -> None:
        now = self._clock()
        fresh = began - self._ended < _FRESH + self._took
        self._before = self._took if fresh else 0.0
        self._took, self._ended, self._turning = now - began, now, False

"""What other threads finish, handed to the loop that awaits it: one wake-up for all that is there, since each costs a system call and a turn."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from typing import TypeVar

Answered = TypeVar("Answered")


class Woken:
    """Awaits futures of other threads, all in one loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done, self._waking = deque[asyncio.Future[None]](), False

    async def result(self, future: Future[Answered], seconds: float) -> Answered:
        """What comes of it, or what it raises. It goes on where this is cancelled, or raises TimeoutError after so many seconds."""
        if not future.done():
            loop = asyncio.get_running_loop()
            if loop is not self._loop:  # the one before has ended
                self._loop, self._done, self._waking = loop, deque(), False
            waits = loop.create_future()
            future.add_done_callback(lambda _: self._tell(waits))
            over = loop.call_later(seconds, _end, waits)  # asyncio.timeout takes three times as long
            try:
                await waits
            finally:
                over.cancel()
        return future.result()

    def _tell(self, waits: asyncio.Future[None]) -> None:
        loop = waits.get_loop()
        if loop is self._loop and not loop.is_closed():
            self._done.append(waits)
            if not self._waking:
                self._waking = True
                loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False  # before it looks: what comes from here on wakes it again
        while self._done:
            if not (waits := self._done.popleft()).done():
                waits.set_result(None)


def _end(waits: asyncio.Future[None]) -> None:
    if not waits.done():
        waits.set_exception(TimeoutError())

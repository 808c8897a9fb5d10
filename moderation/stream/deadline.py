"""Calls with a deadline, for a client whose calls may never return: they run in a thread that can be given up."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from moderation.errors import ExitCode, StreamError

Result = TypeVar("Result")
_TICKS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def ticks() -> float:
    """Seconds that go steadily, also while the machine sleeps, where it can tell."""
    return time.clock_gettime(_TICKS)


class CallThread:
    """One thread that makes all calls in turn, so that a client that is not thread-safe is never in two hands.

    A call that outlives its deadline is not waited for: it may still happen, so its outcome is unknown, and the thread is of no more use.
    """

    def __init__(self, name: str) -> None:
        self._owner = os.getpid()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, what: str, seconds: float, function: Callable[[], Result]) -> Result:
        """What the function returns or raises; StreamError where it takes longer, or in a child of the process that owns the thread."""
        if os.getpid() != self._owner:
            raise StreamError(f"{what}: the session belongs to process {self._owner}; open one after the fork")
        done: Future[Result] = Future()
        self._calls.put((done, function))
        try:
            return done.result(seconds)
        except TimeoutError:
            if done.done():
                raise
        message = f"{what}: no answer within {seconds:g} s; whether it happened is unknown"
        raise StreamError(message, exit_code=ExitCode.STALLED)

    def end(self) -> None:
        """Let the thread end after the calls that were made."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            done, function = call
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised again where the call was made
                done.set_exception(error)

"""Whether a process still gets anywhere, by its own measured progress, and how it ends when it does not."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from moderation.errors import ExitCode, StreamError
from moderation.telemetry import ERROR

_log = logging.getLogger(__name__)


class Progress:
    """When something last went forward, on a clock that no operator can set."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def made(self) -> None:
        """Something went forward just now."""
        self._last = self._clock()

    def seconds(self) -> float:
        """Seconds since something last went forward."""
        return self._clock() - self._last


def leave(error: StreamError) -> NoReturn:
    """End this process at once with the error's exit code: nothing of a client whose state is unknown runs again, not even its clean-up."""
    farewell = threading.Thread(target=_say, args=(error,), daemon=True)
    farewell.start()
    farewell.join(1.0)  # a log that nobody reads any more must not keep the process alive
    os._exit(int(error.exit_code))


def watch(progress: Progress, seconds: float, *, end: Callable[[StreamError], object] = leave) -> None:
    """From now on, end the process when nothing went forward for so many seconds, whatever its other threads are stuck in."""
    threading.Thread(target=_watch, args=(progress, seconds, end), name="liveness", daemon=True).start()


def _watch(progress: Progress, seconds: float, end: Callable[[StreamError], object]) -> None:
    while (stalled := progress.seconds()) < seconds:
        time.sleep(min(1.0, seconds - stalled))
    end(StreamError(f"nothing went forward for {stalled:.0f} s", exit_code=ExitCode.STALLED))


def _say(error: StreamError) -> None:
    told = {ERROR: error.code, "process.exit.code": int(error.exit_code)}
    _log.critical("the worker ends with exit code %d: %s", error.exit_code, error, extra={"told": told})
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()

"""Workers that are started again whenever they end, as a supervisor does, and what may be done to them meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moderation.errors import ExitCode
from tests.stream.ground import Ground

ROOT = Path(__file__).resolve().parents[2]
# A worker that is told to stop before it listens for that, ends with the signal itself.
AGAIN = {ExitCode.OK, ExitCode.UNAVAILABLE, ExitCode.STALLED, ExitCode.RESTART, -signal.SIGKILL, -signal.SIGTERM}


class Crew:
    """One loop (tests/stream/loop.py) for each slot; `ends` counts how they ended."""

    def __init__(self, ground: Ground, settings: dict[str, dict[str, Any]], *, seconds: float = 0.0) -> None:
        self._ground, self._settings, self._seconds = ground, settings, seconds
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ends: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    @property
    def slots(self) -> list[str]:
        """The names of all workers."""
        return list(self._settings)

    def send(self, slot: str, what: signal.Signals) -> None:
        """Send a signal to one worker, if it runs."""
        self._running[slot].send_signal(what)

    def restart(self) -> None:
        """Start every worker that does not run; AssertionError where one ended in a way that calls for a person."""
        for slot, settings in self._settings.items():
            process = self._running.get(slot)
            if process and process.poll() is None:
                continue
            if process:
                self.ends[process.returncode] += 1
                assert process.returncode in AGAIN, f"worker {slot} ended with {process.returncode}"
            given = self._ground.settings_json(slot, **settings)
            command = [sys.executable, "-m", "tests.stream.loop", given, str(self._seconds)]
            self._running[slot] = subprocess.Popen(command, cwd=ROOT)

    def died(self, slot: str) -> bool:
        """Whether this worker has ended and was not started again."""
        return self._running[slot].poll() is not None

    def work(self, count: int, *, within: float) -> None:
        """Until so many records are committed."""
        end = time.monotonic() + within
        while (done := sum(self._ground.committed().values())) < count:
            assert time.monotonic() < end, f"{done} of {count} after {within} s; ended: {dict(self.ends)}"
            self.restart()
            time.sleep(0.2)

    def drain(self) -> None:
        """SIGTERM to all: each must end in good order."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        assert {process.wait(30) for process in self._running.values()} == {0}

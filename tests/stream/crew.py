"""Workers that are started again whenever they end, as a supervisor does, and what may be done to them meanwhile."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moderation.errors import ExitCode
from tests.stream.place import Place, started

# Time-outs that a test can wait for, and small batches, so that a fault mostly strikes in the middle of one.
SHORT: dict[str, Any] = {
    "session_seconds": 3.0, "request_seconds": 2.0, "commit_seconds": 4.0, "transaction_seconds": 5.0, "poll_records": 10,
}  # fmt: skip
# A worker that is told to stop before it listens for that, ends with the signal itself; one that is told twice, at once.
AGAIN = frozenset(
    {
        ExitCode.OK, ExitCode.UNAVAILABLE, ExitCode.STALLED, ExitCode.RESTART,
        -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM,
    }
)  # fmt: skip


class Crew:
    """One true worker (or what `code` makes of it) for each settings file; `ends` counts how they ended, and `again` are ends after which they are started again."""

    def __init__(self, place: Place, *configs: Path, code: str = "", again: Collection[int] = AGAIN) -> None:
        self._place, self._configs, self._code, self._again = place, configs, code, again
        self._running: list[subprocess.Popen[str]] = []
        self.ends: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self._running = [started(config, code=self._code) for config in self._configs]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    def __len__(self) -> int:
        return len(self._configs)

    def send(self, number: int, what: signal.Signals) -> None:
        """Send a signal to one worker, if it runs."""
        self._running[number].send_signal(what)

    def restart(self) -> None:
        """Start every worker that does not run; AssertionError where one ended in a way that calls for a person."""
        for number, process in enumerate(self._running):
            if process.poll() is not None:
                self._count(process.returncode)
                self._running[number] = started(self._configs[number], code=self._code)

    def ended(self, number: int, *, within: float = 180) -> int:
        """Wait until this worker has ended: its exit code."""
        return self._running[number].wait(within)

    def work(self, count: int | None = None, *, within: float = 300) -> None:
        """Until so many more records are committed, or all that were written; no test waits for the end of `within`."""
        end = time.monotonic() + within
        wanted = self._place.fed if count is None else min(self._place.fed, self._place.committed() + count)
        while (done := self._place.committed()) < wanted:
            assert time.monotonic() < end, f"{done} of {wanted} after {within} s; ended: {dict(self.ends)}"
            self.restart()
            time.sleep(0.2)

    def drain(self) -> None:
        """SIGTERM to all: each must end in good order."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in self._running]
        assert set(codes) <= {ExitCode.OK, -signal.SIGTERM}, codes

    def _count(self, code: int) -> None:
        self.ends[code] += 1
        assert code in self._again, f"a worker ended with {code}"

"""Processes that are started again whenever they end, as a supervisor does it, and what may be done to them meanwhile."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]


class Crew:
    """One process for each slot; `ends` counts how often one ended by itself."""

    def __init__(self, commands: Mapping[str, list[str]], log: Path) -> None:
        self._commands, self._log = commands, log
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.ends = 0

    def __enter__(self) -> Self:
        self.tend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._running:
            self.kill(slot)

    def tend(self) -> None:
        """Start what does not run."""
        for slot, command in self._commands.items():
            process = self._running.get(slot)
            if process is None or process.poll() is not None:
                self.ends += process is not None and process.returncode != -signal.SIGKILL
                with self._log.open("ab") as log:
                    self._running[slot] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def pid(self, slot: str) -> int:
        """The process in this slot."""
        return self._running[slot].pid

    def alive(self, slot: str) -> bool:
        """Whether it runs."""
        return self._running[slot].poll() is None

    def send(self, slot: str, what: signal.Signals) -> None:
        """Send a signal to a process, if it runs."""
        self._running[slot].send_signal(what)

    def kill(self, slot: str) -> None:
        """End a process at once, without a chance to tidy up."""
        self.send(slot, signal.SIGKILL)
        self._running[slot].wait()


def tend(crews: list[Crew], seconds: float) -> None:
    """Supervise for so long."""
    end = time.monotonic() + seconds
    while True:
        for crew in crews:
            crew.tend()
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(0.1, left))

"""Where a load test takes place: topics of its own, and worker processes that are started again as a supervisor would."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings, WorkerSettings
from moderation.stream.client import make_admin
from moderation.stream.credentials import opening
from moderation.stream.faults import fatal

PARTITIONS = 8
_AGAIN = {ExitCode.UNAVAILABLE, ExitCode.STALLED, ExitCode.RESTART}
_MOST_DEATHS = 20
_SHOWN = 5  # lines of the workers' log


class Topics:
    """Topics of this run alone, deleted when it ends, and the variables that lead a worker to them."""

    def __init__(self, settings: StreamSettings, own: WorkerSettings) -> None:
        self.name = f"moderation-bench-{random.Random().randbytes(6).hex()}"
        self.input, self.decisions, self.dead_letters = f"{self.name}-in", f"{self.name}-out", f"{self.name}-dlq"
        self._review = f"{self.name}-review" if own.review else ""
        self._probed = own.probe is not None
        self._settings = settings

    def __enter__(self) -> Self:
        made = {one: {"num_partitions": PARTITIONS, "replication_factor": -1} for one in self._all()}
        with opening("making topics for the load test", self._settings):
            admin = make_admin(self._settings)
            admin.create_topics(made, wait_for_metadata=True)
            admin.close()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with fatal("deleting the topics of the load test"):
            admin = make_admin(self._settings)
            admin.delete_topics(self._all(), raise_errors=False)
            admin.close()

    def variables(self, slot: int) -> dict[str, str]:
        """What a worker is told: topics, group and slot of its own, and caches and quotas that nobody else counts in."""
        told = {
            "STREAM__INPUTS": f'["{self.input}"]',
            "STREAM__GROUP": self.name,
            "STREAM__SLOT": f"bench-{slot}",
            "STREAM__START": "earliest",
            "WORKER__DECISIONS": self.decisions,
            "WORKER__DEAD_LETTERS": self.dead_letters,
            "CACHE__TENANT": self.name,
        }
        told |= {"WORKER__REVIEW__TOPIC": self._review} if self._review else {}
        told |= {"WORKER__PROBE__PORT": "0"} if self._probed else {}  # any that is free
        return {f"MODERATION_{name}": value for name, value in told.items()}

    def _all(self) -> list[str]:
        return [one for one in (self.input, self.decisions, self.dead_letters, self._review) if one]


class Crew:
    """Worker processes; one that ends is started again, as a supervisor would."""

    def __init__(self, config: Path, topics: Topics, workers: int, log: Path) -> None:
        self._config, self._topics, self._log = config, topics, log
        self._lock = threading.Lock()
        self._processes = [self._start(slot) for slot in range(workers)]
        self.deaths: list[int] = []
        self.peak: int | None = None

    def kill(self, chance: random.Random) -> None:
        """End one of them at once; another takes its slot."""
        with self._lock:
            slot = chance.randrange(len(self._processes))
            self._processes[slot].kill()
            self._processes[slot].wait()
            self._processes[slot] = self._start(slot)

    def tend(self) -> None:
        """Start again what ended by itself, and look at the memory of the others. Raises StreamError where that does not help."""
        with self._lock:
            for slot, process in enumerate(self._processes):
                self._weigh(process.pid)
                code = process.poll()
                if code is None:
                    continue
                self.deaths.append(code)
                if code not in _AGAIN or len(self.deaths) > _MOST_DEATHS:
                    raise StreamError(
                        f"a worker ended with exit code {code}; it says:\n{_last_lines(self._log, 1)}",
                        exit_code=ExitCode.UNAVAILABLE,
                    )
                self._processes[slot] = self._start(slot)

    def state(self) -> str:
        """How the workers stand, and the last lines of their log, for people."""
        with self._lock:
            running = sum(process.poll() is None for process in self._processes)
        ended = f"; ended by themselves with {', '.join(map(str, self.deaths))}" if self.deaths else ""
        lines = _last_lines(self._log, _SHOWN) or "nothing"
        return f"{running} of {len(self._processes)} workers run{ended}; their log ends with:\n{lines}"

    def close(self) -> None:
        """Ask all to stop, and wait."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, slot: int) -> subprocess.Popen[bytes]:
        environ = {**os.environ, **self._topics.variables(slot)}
        with self._log.open("ab") as log:
            words = [sys.executable, "-m", "moderation", "worker", str(self._config)]
            return subprocess.Popen(words, stdout=log, stderr=log, env=environ)  # noqa: S603 - our own command

    def _weigh(self, process: int) -> None:
        try:
            lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        self.peak = max([*found, self.peak or 0]) or None


def _last_lines(log: Path, count: int) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return "\n".join([line for line in lines if line.strip()][-count:])

"""A load test of a real `moderation serve`: how much it can do, and how late, at fractions of that, its answers and refusals are.

The server is a process of its own, started as operators start it, on a port, with a key, a tenant and a small cache of this run alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from moderation.errors import ServerError
from moderation.server.load import Asked, Load, Outcome, drive, outcome

FRACTIONS = (0.25, 0.5, 0.8, 1.0, 1.5, 3.0)
CALM = 0.8  # up to this part of its capacity a server should be as quick as it can
KEPT = 0.99  # of the good requests, answered in time, where a server is not saturated
CACHE_BYTES = 1_000_000  # every content is new here: what grows is not the cache
_WARM = 0.25  # of the time of the first load, whose answers are not counted
_LONGEST = 600.0  # seconds that a request may take while the capacity is measured
_SHOWN = 5  # lines of the server's log
_KEY = "bench"
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked: first by so many `clients` one request after the other, then at `fractions` of what came of that, each for so many seconds."""

    fractions: Sequence[float] = FRACTIONS
    seconds: float = 10.0
    clients: int = 64
    deadline: float = 2.0
    leaves: float = 0.05
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One load, at this part of the capacity: requests a second, what became of them, and the server's memory after them, in bytes."""

    fraction: float
    offered: float
    found: Outcome
    memory: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "found": self.found.to_dict()}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `capacity` is in answers a second, of `clients` that always ask; `start_seconds` until the server was ready.

    Memory is in bytes, None where the system does not tell: `warm_bytes` after the capacity was found, `peak_bytes` at most.
    """

    start_seconds: float
    clients: int
    capacity: float
    busy: Outcome
    steps: tuple[Step, ...]
    warm_bytes: int | None
    peak_bytes: int | None

    @property
    def saturation(self) -> float | None:
        """The largest load, in requests a second, at which KEPT of the good requests were answered in time; None where none was."""
        kept = [one.offered for one in self.steps if one.found.share_in_time >= KEPT]
        return max(kept, default=None)

    @property
    def growth(self) -> float | None:
        """How much the memory grew after the warm-up, as a part of it."""
        last = self.steps[-1].memory if self.steps else None
        return last / self.warm_bytes - 1 if last and self.warm_bytes else None

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor refused as they should be."""
        return sum(sum(one.failed.values()) for one in (self.busy, *(step.found for step in self.steps)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        steps = [one.to_dict() for one in self.steps]
        told = {"saturation": self.saturation, "growth": self.growth, "failed": self.failed}
        return {"schema": "bench-serve/v1", **asdict(self), "busy": self.busy.to_dict(), "steps": steps, **told}


class Server:
    """A `moderation serve` of this run alone, which ends with it. Raises ServerError where it does not become ready."""

    def __init__(self, config: Path, log: Path, *, patience: float) -> None:
        self.key = secrets.token_urlsafe(32)
        self._config, self._log, self._patience = config, log, patience
        self.url = ""

    def __enter__(self) -> Self:
        words = [sys.executable, "-m", "moderation", "serve", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, **self._variables()})  # noqa: S603 - our own command
        try:
            self._wait()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self) -> None:
        """Raises ServerError where it ended by itself."""
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"the server ended with exit code {code}; {self._said()}")

    def memory(self, kind: str = "VmRSS") -> int | None:
        """Bytes that it holds now, or, as `VmHWM`, that it held at most; None where the system does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:")), None)

    def _variables(self) -> dict[str, str]:
        told = {
            "SERVE__HOST": "127.0.0.1",
            "SERVE__PORT": "0",
            "SERVE__LOG": "json",
            f"SERVE__KEYS__{_KEY}__SHA256": f'"{hashlib.sha256(self.key.encode()).hexdigest()}"',
            "CACHE__MAX_BYTES": str(CACHE_BYTES),
            "CACHE__TENANT": f"bench-{secrets.token_hex(6)}",
        }
        return {f"MODERATION_{name.upper()}": value for name, value in told.items()}

    def _wait(self) -> None:
        end = time.monotonic() + self._patience
        while not self.url:
            self._look()
            if time.monotonic() > end:
                raise ServerError(f"the server was not ready within {self._patience:.0f} s; {self._said()}")
            time.sleep(0.05)

    def _look(self) -> None:
        self.check()
        for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
            row = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
            self.url = row.get("address", self.url)

    def _said(self) -> str:
        lines = [one for one in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if one.strip()]
        return "it says:\n" + "\n".join(lines[-_SHOWN:] or ["nothing"])

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def measure(
    config: Path,
    requests: Iterator[Asked],
    plan: Plan,
    *,
    log: Path,
    patience: float = 120.0,
    advance: Advance = lambda _count: None,
) -> Result:
    """Loads a server of this configuration, and tells what came of each load; `advance` hears of each that is over.

    `requests` has no end, and nothing in it twice. Raises ServerError where the server does not start within `patience` seconds, or ends.
    """
    began = time.monotonic()
    with Server(config, log, patience=patience) as server:
        ready = time.monotonic() - began
        load = Load(clients=plan.clients, deadline=_LONGEST, key=server.key, seed=plan.seed, seconds=plan.seconds)
        drive(server.url, (requests, replace(load, seconds=_WARM * plan.seconds)))
        (answers,) = drive(server.url, (requests, load))
        busy = outcome(answers, load)
        server.check()
        advance(1)
        warm, steps = server.memory(), []
        for number, fraction in enumerate(plan.fractions):
            load = Load(
                rate=fraction * busy.rate,
                seconds=plan.seconds,
                deadline=plan.deadline,
                leaves=plan.leaves,
                leaves_within=busy.latency.p50 if busy.latency else plan.deadline,
                key=server.key,
                seed=plan.seed + number,
            )
            steps.append(_step(server, requests, load, fraction))
            advance(1)
        return Result(ready, plan.clients, busy.rate, busy, tuple(steps), warm, server.memory("VmHWM"))


def _step(server: Server, requests: Iterator[Asked], load: Load, fraction: float) -> Step:
    if not load.rate:
        raise ServerError("the server answered nothing, so that no load can be chosen")
    ready = list(islice(requests, round(1.5 * load.rate * load.seconds) + 50))  # made before, not meanwhile
    (answers,) = drive(server.url, (ready, load))
    server.check()
    return Step(fraction, load.rate, outcome(answers, load), server.memory())

"""Requests to a server from a process of its own, each for a text of its own: some clients one after the other, or arrivals at random at a rate.

python -m benchmarks.loops.http_driver URL '{"clients": 64, "seconds": 5}'
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class Answers:
    """Seconds of those that were answered and of those that were refused."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0


class Connection:
    """One kept connection, as small as a driver's must be that shares the cores with what it drives."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).netloc.split(":")
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: str, deadline_ms: int) -> int:
        """The status of an answer."""
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._open
        body = json.dumps({"input": text}).encode()
        head = f"POST /v1/moderations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-deadline-ms: {deadline_ms}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        told = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in told.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        return int(told.split(b" ", 2)[1])


async def closed(url: str, answers: Answers, *, clients: int, seconds: float, deadline_ms: int = 60_000) -> None:
    """Each client asks again as soon as it is answered."""
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        connection = Connection(url)
        count = 0
        while time.monotonic() < end:
            await _timed(connection, answers, f"{random.random()} {number} {count}", time.monotonic(), deadline_ms)
            count += 1

    await asyncio.gather(*(client(number) for number in range(clients)))


async def open_loop(url: str, answers: Answers, *, rate: float, seconds: float, deadline_ms: int) -> None:
    """Arrivals at random; each counts from when it should have begun."""
    free: list[Connection] = []
    begun, tasks, due = time.monotonic(), [], 0.0

    async def one(at: float, text: str) -> None:
        connection = free.pop() if free else Connection(url)
        await _timed(connection, answers, text, at, deadline_ms)
        free.append(connection)

    number = 0
    while (due := due + random.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, begun + due - time.monotonic()))
        tasks.append(asyncio.ensure_future(one(begun + due, f"{random.random()} {number}")))
        number += 1
    await asyncio.gather(*tasks)


async def _timed(connection: Connection, answers: Answers, text: str, began: float, deadline_ms: int) -> None:
    status = await connection.ask(text, deadline_ms)
    seconds = time.monotonic() - began
    if status == 200:
        answers.answered.append(seconds)
    elif status == 429:
        answers.refused.append(seconds)
    else:
        answers.failed += 1


def main() -> None:
    url, how = sys.argv[1], json.loads(sys.argv[2])
    random.seed(f"{how} {time.time()}")  # no text twice, or it would be remembered
    answers = Answers()
    began = time.monotonic()
    asyncio.run((open_loop if "rate" in how else closed)(url, answers, **how))
    took, deadline = time.monotonic() - began, how.get("deadline_ms", 60_000) / 1000
    found: dict[str, Any] = {
        "asked": len(answers.answered) + len(answers.refused) + answers.failed,
        "failed": answers.failed,
        "in_time": sum(one <= deadline for one in answers.answered),
        "rate": len(answers.answered) / took,
        "p50": statistics.median(answers.answered or [0.0]),
        "p99": sorted(answers.answered or [0.0])[round(0.99 * max(0, len(answers.answered) - 1))],
        "refused_p50": statistics.median(answers.refused or [0.0]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

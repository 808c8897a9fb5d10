"""Requests to a server as its callers send them: some callers one request after the other, or arrivals at random at a rate.

Every request counts from when it should have begun, so that a server that stalls is not asked less meanwhile. Some callers go away before they are answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

NOTHING = 0  # the status of a request that nothing came of: no answer long after its deadline, or a broken connection
LEFT = 499  # the status of a request whose caller went away first


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: a JSON `body` to POST, or None to GET; `bad` where it has no good answer, and is to be told so."""

    route: str
    body: bytes | None
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """How it is asked: by so many `clients`, or at a `rate` of requests a second; for so many `seconds`, each with `deadline` seconds.

    The share `leaves` of callers goes away after up to `leaves_within` seconds, and all hang up `patience` seconds after their deadline.
    """

    clients: int = 1
    rate: float | None = None
    seconds: float = 10.0
    deadline: float = 2.0
    leaves: float = 0.0
    leaves_within: float = 0.1
    patience: float = 10.0
    key: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, by one clock: when it should have begun, when it did, when it ended."""

    asked: Asked
    due: float
    sent: float
    ended: float
    status: int

    @property
    def seconds(self) -> float:
        """From when it should have begun."""
        return self.ended - self.due


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds: half of all, 95 and 99 in a hundred took no longer, and the longest."""

    p50: float
    p95: float
    p99: float
    largest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """None of nothing."""
        row = sorted(seconds)
        return cls(*(row[round(part * (len(row) - 1))] for part in (0.5, 0.95, 0.99, 1.0))) if row else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load.

    Good requests that were `answered`, and those of them within their deadline; `refused` ones (429); bad ones that were told so; callers that
    `left`; `failed` is everything else, by status. `latency` is that of the answered, `refusal` that of the refused; `late` is how much later
    requests began than they should have: the driver's own fault, and part of the other two.
    """

    asked: int
    answered: int
    in_time: int
    refused: int
    told_bad: int
    left: int
    failed: Mapping[str, int]
    seconds: float
    latency: Spread | None
    refusal: Spread | None
    late: Spread | None

    @property
    def rate(self) -> float:
        """Answers in time a second."""
        return self.in_time / self.seconds

    @property
    def share_in_time(self) -> float:
        """Of the good requests whose callers stayed, in [0, 1]."""
        stayed = self.asked - self.told_bad - self.left
        return self.in_time / stayed if stayed else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "rate": self.rate, "share_in_time": self.share_in_time}


def outcome(answers: Sequence[Answer], load: Load) -> Outcome:
    """The sum of a load's answers. Its time is the load's own, or, of callers that ask one request after the other, until the last answer."""
    good = [one for one in answers if one.status == 200 and not one.asked.bad]
    told = [one for one in answers if one.asked.bad and (one.status == 200 or 400 <= one.status < 429)]
    refused = [one for one in answers if one.status == 429]
    left = [one for one in answers if one.status == LEFT]
    known = {id(one) for one in (*good, *told, *refused, *left)}
    failed = Counter(str(one.status) for one in answers if id(one) not in known)
    took = max((one.ended for one in answers), default=0.0) - min((one.due for one in answers), default=0.0)
    return Outcome(
        asked=len(answers),
        answered=len(good),
        in_time=sum(one.seconds <= load.deadline for one in good),
        refused=len(refused),
        told_bad=len(told),
        left=len(left),
        failed=dict(failed),
        seconds=load.seconds if load.rate else took or load.seconds,
        latency=Spread.of(one.seconds for one in good),
        refusal=Spread.of(one.seconds for one in refused),
        late=Spread.of(one.sent - one.due for one in answers),
    )


def drive(url: str, *loads: tuple[Iterable[Asked], Load]) -> list[list[Answer]]:
    """Sends these requests, all loads at once, and gives every answer. A load ends with its time, or its requests."""

    async def run() -> list[list[Answer]]:
        drivers = [_Driver(url, iter(requests), load) for requests, load in loads]
        return await asyncio.gather(*(one.run() for one in drivers))

    return asyncio.run(run())


@dataclass(slots=True)
class _Driver:
    url: str
    requests: Iterator[Asked]
    load: Load
    free: list[_Connection] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    chance: random.Random = field(init=False)  # of who leaves; arrivals have another, or they would not repeat

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.load.seed} leaves")

    async def run(self) -> list[Answer]:
        await (self._at_random() if self.load.rate else self._one_by_one())
        for connection in self.free:
            connection.close()
        return self.answers

    async def _one_by_one(self) -> None:
        end = time.monotonic() + self.load.seconds

        async def client() -> None:
            for asked in self.requests:  # which all clients share
                if (now := time.monotonic()) >= end:
                    return
                await self._ask(asked, now)

        await asyncio.gather(*(client() for _ in range(self.load.clients)))

    async def _at_random(self) -> None:
        assert self.load.rate  # noqa: S101 - as `run` saw
        begun, due, tasks, chance = time.monotonic(), 0.0, [], random.Random(f"{self.load.seed} arrivals")
        while (due := due + chance.expovariate(self.load.rate)) < self.load.seconds:
            if (asked := next(self.requests, None)) is None:
                break
            await asyncio.sleep(max(0.0, begun + due - time.monotonic()))
            tasks.append(asyncio.ensure_future(self._ask(asked, begun + due)))
        await asyncio.gather(*tasks)

    async def _ask(self, asked: Asked, due: float) -> None:
        leaves = self.chance.random() < self.load.leaves
        seconds = self.chance.uniform(0, self.load.leaves_within) if leaves else self.load.deadline + self.load.patience
        connection = self.free.pop() if self.free else _Connection(self.url, self.load)
        sent = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                status = await connection.ask(asked)
        except TimeoutError:
            status = LEFT if leaves else NOTHING
        except (OSError, EOFError):
            status = NOTHING
        self.answers.append(Answer(asked, due, sent, time.monotonic(), status))
        if status in {LEFT, NOTHING}:
            connection.close()
        else:
            self.free.append(connection)


class _Connection:
    """One kept connection, as small as a driver's must be that shares the cores with what it drives."""

    def __init__(self, url: str, load: Load) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        key = f"authorization: Bearer {load.key}\r\n" if load.key else ""
        self._head = f"host: {urlsplit(url).netloc}\r\nx-deadline-ms: {max(1, round(1000 * load.deadline))}\r\n{key}"
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, asked: Asked) -> int:
        """The status of the answer, which is read to its end."""
        if self._open is None:
            self._open = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._open
        body = asked.body or b""
        if asked.body is None:
            head = f"GET {asked.route} HTTP/1.1\r\n{self._head}\r\n"
        else:
            sized = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            head = f"POST {asked.route} HTTP/1.1\r\n{self._head}{sized}\r\n"
        writer.write(head.encode() + body)
        told = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = told.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        await (reader.readexactly(int(length)) if length else reader.readuntil(b"\r\n0\r\n\r\n"))  # or in chunks
        return int(told.split(b" ", 2)[1])

    def close(self) -> None:
        """At once."""
        if self._open:
            self._open[1].transport.abort()
            self._open = None

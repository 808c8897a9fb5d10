"""A load test of real workers on the real broker, in topics of its own: how fast, how late, and whether each record was answered once.

Workers are processes, started as operators start them. What is measured is what a reader of committed records sees, by one clock.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kafka.structs import TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings, WorkerSettings
from moderation.stream.batch import Headers
from moderation.stream.bench_ground import PARTITIONS, Crew, Topics
from moderation.stream.client import make_producer, make_reader
from moderation.stream.dead_letter import PREFIX
from moderation.stream.faults import fatal

SOURCE = "moderation.source."  # of a decision's headers, as dead letters have PREFIX
POLL = 0.2  # seconds
Advance = Callable[[int], None]
Place = tuple[int, int]  # partition and offset in the input


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: how many workers, how many records a second (None: all at once), and how many kills on the way."""

    workers: int = 1
    rate: float | None = None
    kills: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a record's acknowledgement by the broker until a reader of committed records has its answer."""

    p50: float
    p95: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `start_seconds` are from the workers' start until the warm-up was answered; `seconds` from then to the last of the
    `measured` answers.

    `decisions` and `dead_letters` count answers; `lost` are records without any, `repeated` answers beyond the first. `peak_bytes` is the
    largest memory of any worker, None where the system does not tell. `deaths` are exit codes of workers that nobody killed.
    """

    records: int
    decisions: int
    dead_letters: int
    lost: int
    repeated: int
    start_seconds: float
    measured: int
    seconds: float
    latency: Latency | None
    kills: int
    deaths: tuple[int, ...]
    peak_bytes: int | None

    @property
    def rate(self) -> float:
        """Records answered a second."""
        return self.measured / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, ready for JSON."""
        return {"schema": "bench-stream/v1", **asdict(self), "rate": self.rate}


class Answers:
    """Reads committed answers as they come, in a thread: when each record was first answered, and how often."""

    def __init__(self, settings: StreamSettings, topics: Topics) -> None:
        self.first: dict[Place, float] = {}
        self.decisions = self.dead_letters = 0
        self.error: BaseException | None = None
        self._prefixes = {topics.decisions: SOURCE, topics.dead_letters: PREFIX}
        self._reader = make_reader(settings)
        places = [TopicPartition(topic, number) for topic in self._prefixes for number in range(PARTITIONS)]
        self._reader.assign(places)
        self._reader.seek_to_beginning(*places)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="bench-answers", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many answers came, repeated ones included."""
        return self.decisions + self.dead_letters

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                polled = self._reader.poll(timeout_ms=round(1000 * POLL))
                now = time.monotonic()
                for place, records in polled.items():
                    for record in records:
                        self._add(place.topic, dict(record.headers), now)
        except BaseException as error:  # noqa: BLE001 - told by whoever waits for answers
            self.error = error

    def _add(self, topic: str, headers: Mapping[str, bytes], now: float) -> None:
        prefix = self._prefixes[topic]
        self.first.setdefault((int(headers[prefix + "partition"]), int(headers[prefix + "offset"])), now)
        if prefix == SOURCE:
            self.decisions += 1
        else:
            self.dead_letters += 1


class Sender:
    """Sends records and remembers when each one left, by the place that the broker gave it."""

    def __init__(self, settings: StreamSettings, topic: str) -> None:
        self.left: dict[Place, float] = {}
        self._topic, self._failed = topic, list[BaseException]()
        self._producer = make_producer(settings.model_copy(update={"delivery": "at_least_once"}), at_once=True)

    def send(self, value: bytes, headers: Headers, partition: int) -> None:
        """Send one record; it may be on its way still. Raises StreamError where an earlier one could not be sent."""
        self._check()
        now = time.monotonic()
        future = self._producer.send(self._topic, value, headers=list(headers), partition=partition)
        future.add_callback(lambda place: self.left.__setitem__((place.partition, place.offset), now))
        future.add_errback(self._failed.append)

    def settle(self) -> None:
        """Wait until everything that was sent is acknowledged. Raises StreamError where something could not be sent."""
        with fatal("send", otherwise=ExitCode.UNAVAILABLE):
            self._producer.flush(timeout=60)
        self._check()

    def _check(self) -> None:
        if self._failed:
            raise StreamError(f"a record could not be sent: {self._failed[0]!r}", exit_code=ExitCode.UNAVAILABLE)

    def close(self) -> None:
        """Close the producer."""
        self._producer.close(timeout=10)


@dataclass(slots=True)
class Watch:
    """What is done now and then while records are on their way: workers tended, one killed when its time has come, progress told."""

    answers: Answers
    crew: Crew
    load: Load
    expected: int
    advance: Advance
    chance: random.Random
    killed: int = 0
    told: int = 0
    looked: float = 0.0

    def look(self) -> None:
        """Look, at most every POLL seconds."""
        if time.monotonic() < self.looked + POLL:
            return
        self.looked = time.monotonic()
        if self.answers.error is not None:
            raise StreamError(f"answers cannot be read: {self.answers.error!r}", exit_code=ExitCode.UNAVAILABLE)
        self.crew.tend()
        done = len(self.answers.first)
        self.advance(done - self.told)
        self.told = done
        if self.killed < self.load.kills and done > self.expected * (self.killed + 1) / (self.load.kills + 1):
            self.crew.kill(self.chance)
            self.killed += 1

    def wait(self, until: int, patience: float) -> None:
        """Until so many records are answered, or nothing more was for `patience` seconds."""
        before, since = -1, time.monotonic()
        while (done := len(self.answers.first)) < until and time.monotonic() < since + patience:
            if done > before:
                before, since = done, time.monotonic()
            self.look()
            time.sleep(POLL / 10)


def measure(
    config: Path,
    settings: StreamSettings,
    own: WorkerSettings,
    contents: Iterable[tuple[bytes, Headers]],
    expected: int,
    *,
    load: Load,
    log: Path,
    patience: float = 180.0,
    advance: Advance = lambda _count: None,
) -> Result:
    """Sends these records (value and headers, `expected` many) to workers of this configuration, and waits until all are answered.

    The first PARTITIONS records warm the workers up and are not measured. When nothing was answered for `patience` seconds, what is
    missing is lost. Raises StreamError where Kafka or the workers cannot be used.
    """
    with ExitStack() as stack:
        topics = stack.enter_context(Topics(settings, own))
        answers = Answers(settings, topics)
        stack.callback(answers.close)
        sender = Sender(settings, topics.input)
        stack.callback(sender.close)
        began = time.monotonic()
        crew = Crew(config, topics, load.workers, log)
        stack.callback(crew.close)
        watch = Watch(answers, crew, load, expected, advance, random.Random(load.seed))
        rest = iter(contents)
        for number, (value, headers) in enumerate(itertools.islice(rest, PARTITIONS)):
            sender.send(value, headers, number)
        sender.settle()
        watch.wait(len(sender.left), patience)
        ready, warm = time.monotonic(), set(answers.first)
        if not warm:
            message = f"no worker answered within {patience:.0f} s; {crew.state()}"
            raise StreamError(message, exit_code=ExitCode.UNAVAILABLE)
        for number, (value, headers) in enumerate(rest):
            _pace(ready, number, load.rate, watch)
            sender.send(value, headers, number % PARTITIONS)
        sender.settle()
        watch.wait(len(sender.left), patience)
        time.sleep(2 * POLL)  # a second answer would come right behind
        return _result(sender, answers, watch, warm, began=began, ready=ready)


def _pace(began: float, number: int, rate: float | None, watch: Watch) -> None:
    """Until it is time for this record."""
    while rate and (early := began + number / rate - time.monotonic()) > 0:
        watch.look()
        time.sleep(min(early, POLL / 10))
    watch.look()


def _result(sender: Sender, answers: Answers, watch: Watch, warm: set[Place], *, began: float, ready: float) -> Result:
    measured = [place for place in sender.left if place not in warm and place in answers.first]
    waited = np.array([answers.first[place] - sender.left[place] for place in measured])
    found = np.quantile(waited, (0.5, 0.95, 0.99, 1.0)).tolist() if len(waited) else None
    return Result(
        records=len(sender.left),
        decisions=answers.decisions,
        dead_letters=answers.dead_letters,
        lost=len(sender.left.keys() - answers.first.keys()),
        repeated=answers.count - len(answers.first),
        start_seconds=ready - began,
        measured=len(measured),
        seconds=max((answers.first[place] for place in measured), default=ready) - ready,
        latency=Latency(*found) if found else None,
        kills=watch.killed,
        deaths=tuple(watch.crew.deaths),
        peak_bytes=watch.crew.peak,
    )

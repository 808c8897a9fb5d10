"""A load test of real workers on the real broker, in topics of its own: how fast, how late, and whether each record was answered once.

Workers are processes, started as operators start them. What is measured is what a reader of committed records sees, by one clock.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from kafka.structs import TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Headers
from moderation.stream.client import make_admin, make_producer, make_reader
from moderation.stream.dead_letter import PREFIX
from moderation.stream.faults import fatal

SOURCE = "moderation.source."  # of a decision's headers, as dead letters have PREFIX
PARTITIONS = 8
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


class Topics:
    """Topics of this run alone, deleted when it ends, and the variables that lead a worker to them."""

    def __init__(self, settings: StreamSettings, *, reviews: bool) -> None:
        self.name = f"moderation-bench-{random.Random().randbytes(6).hex()}"
        self.input, self.decisions, self.dead_letters = f"{self.name}-in", f"{self.name}-out", f"{self.name}-dlq"
        self._review = f"{self.name}-review" if reviews else ""
        self._settings = settings

    def __enter__(self) -> Self:
        made = {one: {"num_partitions": PARTITIONS, "replication_factor": -1} for one in self._all()}
        with fatal("making topics for the load test"):
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
                if code not in {ExitCode.UNAVAILABLE, ExitCode.STALLED, ExitCode.RESTART} or len(self.deaths) > 20:
                    raise StreamError(
                        f"a worker ended with exit code {code}; it says: {_last_line(self._log)}",
                        exit_code=ExitCode.UNAVAILABLE,
                    )
                self._processes[slot] = self._start(slot)

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
        self._producer = make_producer(settings.model_copy(update={"delivery": "at_least_once"}))

    def send(self, value: bytes, headers: Headers, partition: int) -> None:
        """Send one record; it may be on its way still. Raises StreamError where an earlier one could not be sent."""
        if self._failed:
            raise StreamError(f"a record could not be sent: {self._failed[0]!r}", exit_code=ExitCode.UNAVAILABLE)
        now = time.monotonic()
        future = self._producer.send(self._topic, value, headers=list(headers), partition=partition)
        future.add_callback(lambda place: self.left.__setitem__((place.partition, place.offset), now))
        future.add_errback(self._failed.append)

    def settle(self) -> None:
        """Wait until everything that was sent is acknowledged."""
        self._producer.flush(timeout=60)

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
    contents: Iterable[tuple[bytes, Headers]],
    expected: int,
    load: Load,
    *,
    reviews: bool,
    log: Path,
    patience: float = 60.0,
    advance: Advance = lambda _count: None,
) -> Result:
    """Sends these records (value and headers, `expected` many) to workers of this configuration, and waits until all are answered.

    The first PARTITIONS records warm the workers up and are not measured. When nothing was answered for `patience` seconds, what is
    missing is lost. Raises StreamError where Kafka or the workers cannot be used.
    """
    with ExitStack() as stack:
        topics = stack.enter_context(Topics(settings, reviews=reviews))
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
            raise StreamError(f"no worker answered within {patience:.0f} s", exit_code=ExitCode.UNAVAILABLE)
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


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "nothing")

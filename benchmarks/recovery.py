"""How long decisions stand still: from a broker that is back to the next decisions, and from a killed worker until all of its partitions move again.

Two true workers share 6 partitions, on which records come steadily; what each held when it was killed is asked of the group. The broker's clock on the outputs
tells when each partition had its next decision. The session time-out is 6 s; where a worker is started again, its own start is part of the time.

    python benchmarks/recovery.py [--rounds 3] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from kafka import KafkaProducer

from benchmarks.loops import worker
from benchmarks.loops.crew import Crew, tend
from benchmarks.loops.field import Field, Progress
from tests.services import available
from tests.services.broker import Broker

PARTITIONS, RATE, SESSION = 6, 120, 6.0
LONGEST = 60.0  # seconds until a round is given up
# By whether it is a static member, and whether its supervisor starts it again at once.
KILLS = {
    (False, False): "killed: its partitions move at the other worker",
    (False, True): "killed, started again at once",
    (True, False): "static member killed: its partitions move at the other worker",
    (True, True): "static member killed, started again at once",
}
BROKER = "broker back after a restart"


class Feeder:
    """Writes records at a steady rate, in turn over all partitions, whether or not the broker is there: what it missed, it writes as soon as it is back."""

    def __init__(self, address: str, topic: str, texts: list[str]) -> None:
        self._producer = KafkaProducer(bootstrap_servers=address, reconnect_backoff_max_ms=200, retry_backoff_ms=50)
        self._topic, self._values, self._stop = topic, worker.values(texts, 10**9), threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.close(timeout=5)

    def _write(self) -> None:
        for number in itertools.count():
            if self._stop.wait(1 / RATE):
                return
            self._producer.send(self._topic, next(self._values), partition=number % PARTITIONS)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, when, and the partitions that it stopped."""

    name: str
    at: float
    stopped: frozenset[int]


class Ground:
    """Two true workers on one group, and what happened to them."""

    def __init__(self, broker: Broker, folder: Path, field: Field, *, static: bool) -> None:
        self._broker, self._static, self._field, self._run = broker, static, field, field.run()
        self._progress, self._events = Progress(broker.address), list[Event]()
        commands = {}
        for slot in "ab":
            config = worker.settings(
                folder, self._run, broker.address, slot, static_member=static, session_seconds=SESSION, start="latest"
            )
            commands[slot] = [sys.executable, "-m", "moderation", "worker", str(config)]
        self.crew = Crew(commands, folder / "workers.log")

    def kill(self, slot: str, *, again: bool) -> None:
        """Kill a worker, and start it again at once, or only when its partitions move again."""
        stopped = self._settled()[f"moderation-{slot}"]
        self._events.append(Event(KILLS[self._static, again], time.time(), frozenset(stopped)))
        self.crew.kill(slot)
        time.sleep(0.3)  # what it had sent is written
        self._moving(stopped, again=again)

    def restart(self) -> None:
        """Stop the broker and start it again; the time counts from when it answers."""
        self._settled()
        self._broker.stop()
        tend([self.crew], 1.0)
        self._broker.start()
        self._broker.wait_until_ready()
        everything = set(range(PARTITIONS))
        self._events.append(Event(BROKER, time.time(), frozenset(everything)))
        self._moving(everything, again=True)

    def seconds(self) -> Iterator[tuple[str, float]]:
        """From each event until the next decision on what it stopped, and until each of those partitions has one."""
        answers = self._field.answers(self._run)
        for event in self._events:
            first: dict[int, float] = {}
            for one in answers:
                if one.written > event.at and one.partition in event.stopped:
                    first.setdefault(one.partition, one.written - event.at)
            yield event.name, max(first.values()) if first.keys() == event.stopped else math.inf
            if event.name == BROKER:
                yield f"{BROKER}: the first decision", min(first.values(), default=math.inf)

    def _settled(self) -> dict[str, set[int]]:
        """Until both workers hold partitions and every partition moves: who holds what."""
        while len(held := self._progress.held(self._run.group)) < 2 or not all(held.values()):
            tend([self.crew], 0.2)
        self._moving(set(range(PARTITIONS)), again=True)
        return held

    def _moving(self, partitions: set[int], *, again: bool) -> None:
        """Until the committed offset of these partitions has grown twice; what ends is started again, if `again`."""
        end = time.monotonic() + LONGEST
        for _ in range(2):
            before: dict[int, int] = {}
            while time.monotonic() < end:
                if again:
                    self.crew.tend()
                now = self._progress.committed(self._run.group)
                before = before or now
                if before and all(now.get(number, 0) > before.get(number, 0) for number in partitions):
                    break
                time.sleep(0.1)


def measure(count: int) -> dict[str, list[float]]:
    """Seconds of every round, by what happened."""
    if not available.own_broker():
        raise SystemExit("this needs a Kafka broker of its own: make services says what is lacking")
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = Broker(folder / "kafka", available.JARS)
        broker.start()
        stack.callback(broker.stop)
        broker.wait_until_ready()
        texts = worker.made_texts(200)
        worker.prepare(folder, texts)
        field = Field(broker.address, PARTITIONS)
        stack.enter_context(Feeder(broker.address, field.input, texts))
        for static in (False, True):
            ground = Ground(broker, folder, field, static=static)
            with ground.crew:
                for _ in range(count):
                    ground.kill("a", again=False)
                    ground.kill("b", again=True)
                    if not static:
                        ground.restart()
            for name, seconds in ground.seconds():
                found.setdefault(name, []).append(seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds)
    result: dict[str, Any] = {
        "session_seconds": SESSION, "rounds": options.rounds,
        "seconds": {name: [round(one, 2) for one in seconds] for name, seconds in found.items()},
        "median": {name: round(statistics.median(seconds), 2) for name, seconds in found.items()},
    }  # fmt: skip
    print(json.dumps(result) if options.json else table(result))


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [f"seconds, median of {result['rounds']} (all); session time-out {result['session_seconds']:.0f} s"]
    for name, median in result["median"].items():
        every = ", ".join(f"{one:.1f}" for one in result["seconds"][name])
        lines.append(f"{name:62}{median:7.1f}   ({every})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

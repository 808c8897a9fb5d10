"""Topics for loops to run on: one input that is fed once, an output and a group for each run, and the broker's own clock on what comes out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from moderation.stream.dead_letter import PREFIX

STAMPED = {"message.timestamp.type": "LogAppendTime"}
SOURCE = "moderation.source."


@dataclass(frozen=True, slots=True)
class Run:
    """Topics and group of one run."""

    input: str
    output: str
    dead_letters: str
    group: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One committed output: which record of the input it answers, and when the broker wrote it, in seconds since 1970."""

    partition: int
    offset: int
    written: float


@dataclass(slots=True)
class Field:
    """One input; `count` records were written to it."""

    address: str
    partitions: int = 8
    count: int = 0
    input: str = field(default_factory=lambda: f"in-{uuid.uuid4().hex[:12]}")

    def __post_init__(self) -> None:
        self._make({self.input: {}})

    def feed(self, values: Iterable[bytes], headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Write these values, over all partitions in turn. Raises what a record failed with."""
        producer = KafkaProducer(
            bootstrap_servers=self.address, compression_type="lz4", batch_size=131_072, linger_ms=20, retries=100
        )
        failed: list[BaseException] = []
        for number, value in enumerate(values, self.count):
            place = number % self.partitions
            producer.send(self.input, value, str(number).encode(), list(headers), place).add_errback(failed.append)
            self.count = number + 1
        producer.flush()
        producer.close()
        if failed:
            raise failed[0]

    def run(self) -> Run:
        """Topics and a group that nobody has used."""
        name = uuid.uuid4().hex[:12]
        made = Run(self.input, f"out-{name}", f"dlq-{name}", f"group-{name}")
        self._make({made.output: STAMPED, made.dead_letters: STAMPED})
        return made

    def answers(self, run: Run) -> list[Answer]:
        """Every committed answer of a run, by the time at which it was written. A dead letter is one, too."""
        found = [
            Answer(int(told[prefix + "partition"]), int(told[prefix + "offset"]), one.timestamp / 1000)
            for topic, prefix in ((run.output, SOURCE), (run.dead_letters, PREFIX))
            for one in self._read(topic)
            for told in [dict(one.headers)]
        ]
        return sorted(found, key=lambda one: one.written)

    def written(self, run: Run) -> list[float]:
        """When the broker wrote each committed answer, in seconds since 1970, in order."""
        return sorted(one.timestamp / 1000 for topic in (run.output, run.dead_letters) for one in self._read(topic))

    def _make(self, topics: dict[str, dict[str, str]]) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.address)
        kept = {"num_partitions": self.partitions, "replication_factor": 1}
        made = {name: {**kept, "configs": configs} for name, configs in topics.items()}
        admin.create_topics(made, wait_for_metadata=True)
        admin.close()

    def _read(self, topic: str) -> list[Any]:
        reader = KafkaConsumer(
            bootstrap_servers=self.address, isolation_level="read_committed", max_poll_records=10_000
        )
        places = [TopicPartition(topic, number) for number in range(self.partitions)]
        reader.assign(places)
        reader.seek_to_beginning(*places)
        ends = reader.end_offsets(places)
        found = []
        while any(reader.position(one) < end for one, end in ends.items()):
            found += [one for taken in reader.poll(timeout_ms=200).values() for one in taken]
        reader.close()
        return found


class Progress:
    """Where groups stand, asked over one connection that is made anew when it breaks."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._admin: KafkaAdminClient | None = None

    def committed(self, group: str) -> dict[int, int]:
        """The group's committed offset by partition, as far as there is one; nothing where no broker answers."""
        try:
            return {one.partition: at.offset for one, at in self._connected().list_group_offsets(group)[group].items()}
        except (KafkaError, KeyError):
            self.close()
            return {}

    def total(self, group: str) -> int:
        """How many records the group has committed."""
        return sum(self.committed(group).values())

    def held(self, group: str) -> dict[str, set[int]]:
        """The partitions that each client of a group holds, by its client id; nothing while the group assigns them anew."""
        try:
            told = self._connected().describe_groups([group])[group]
        except (KafkaError, KeyError):
            self.close()
            return {}
        if told["group_state"] != "Stable":
            return {}
        return {
            one["client_id"]: {
                number for topic in one["member_assignment"]["assigned_partitions"] for number in topic["partitions"]
            }
            for one in told["members"]
        }

    def close(self) -> None:
        """Close the connection."""
        if self._admin:
            self._admin.close()
        self._admin = None

    def _connected(self) -> KafkaAdminClient:
        self._admin = self._admin or KafkaAdminClient(bootstrap_servers=self._address, request_timeout_ms=5_000)
        return self._admin

    def wait(self, group: str, count: int, *, seconds: float = 300.0) -> bool:
        """Until so many records are committed; False where that takes longer."""
        end = time.monotonic() + seconds
        while self.total(group) < count:
            if time.monotonic() > end:
                return False
            time.sleep(0.25)
        return True

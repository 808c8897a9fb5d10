"""Topics of a test's own on a real broker: feeding them, settings for workers on them, and counting what came out."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import RetriableError
from kafka.structs import TopicPartition


@dataclass(frozen=True, slots=True)
class Ground:
    """One input and one output topic that nobody else uses."""

    address: str
    input: str
    output: str
    group: str
    partitions: int

    @classmethod
    def made(cls, address: str, partitions: int = 2, **configs: str) -> Ground:
        """Create the topics; `configs` are the input's."""
        name = uuid.uuid4().hex[:12]
        ground = cls(address, f"in-{name}", f"out-{name}", f"group-{name}", partitions)
        admin = KafkaAdminClient(bootstrap_servers=address)
        topic = {"num_partitions": partitions, "replication_factor": 1}
        admin.create_topics({ground.input: {**topic, "configs": configs}, ground.output: topic}, wait_for_metadata=True)
        admin.close()
        return ground

    def settings(self, slot: str = "a", *, bootstrap: str = "", **changes: Any) -> dict[str, Any]:
        """Stream settings as JSON has them: a dead worker is soon noticed, a slow machine is not taken for one."""
        return {
            "kafka": {"bootstrap": [bootstrap or self.address]},
            "inputs": [self.input], "outputs": [self.output], "group": self.group, "slot": slot,
            "session_seconds": 3.0, "poll_interval_seconds": 60.0, "request_seconds": 10.0, "commit_seconds": 15.0,
            "transaction_seconds": 15.0, "stall_seconds": 60.0, **changes,
        }  # fmt: skip

    def settings_json(self, slot: str = "a", **changes: Any) -> str:
        """`settings` as a worker's command line takes them."""
        return json.dumps(self.settings(slot, **changes))

    def feed(self, values: Iterable[int], **options: Any) -> None:
        """Write these numbers to the input, in order, over all partitions; each is its record's key, too."""
        producer = KafkaProducer(bootstrap_servers=self.address, **options)
        sent = [
            producer.send(self.input, str(one).encode(), str(one).encode(), partition=one % self.partitions)
            for one in values
        ]
        for one in sent:
            one.get(timeout=30)
        producer.close()

    def counted(self) -> Counter[int]:
        """How often each number is in the output, for a reader of what is committed."""
        return Counter(int(value) for _, value in self.read())

    def read(self) -> list[tuple[TopicPartition, bytes]]:
        """Everything in the output that is committed, in order within a partition."""
        return [(partition, one.value) for partition, polled in self.polled() for one in polled]

    def polled(self) -> Iterator[tuple[TopicPartition, Sequence[Any]]]:
        """As `read`, whole records as the client has them."""
        reader = KafkaConsumer(bootstrap_servers=self.address, isolation_level="read_committed")
        partitions = [TopicPartition(self.output, number) for number in range(self.partitions)]
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        ends = reader.end_offsets(partitions)
        while any(reader.position(one) < end for one, end in ends.items()):
            yield from reader.poll(timeout_ms=200).items()
        reader.close()

    def committed(self) -> dict[int, int]:
        """The group's committed offset, by number of the partition, where there is one."""
        return committed(self.address, self.group)


def committed(address: str, group: str) -> dict[int, int]:
    """A group's committed offset in its one topic, by number of the partition, where there is one."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        found = admin.list_group_offsets(group)[group]
    except RetriableError:  # a broker that never had a group is only now making room for their offsets
        found = {}
    finally:
        admin.close()
    return {one.partition: offset.offset for one, offset in found.items()}

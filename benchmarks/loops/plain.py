"""Kafka loops as their users write them on kafka-python, each a process: `python -m benchmarks.loops.plain LOOP JOB`, JOB being a `Job` as JSON.

`tutorial` is exactly-once as the Java documentation teaches it, `at_least_once` processes, flushes and then commits, `auto_commit` leaves commits to the
client. None has the guards of moderation.stream.session; each ends on an error that its tutorial does not handle, and is started again from outside.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Function = Callable[[Sequence[bytes]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Job:
    """Where a loop reads and writes, who it is, and what it does with a record.

    `work` is `copy`, `judge` (the function that all peers share), `sleep` (for so many `seconds` a record), or `transformers` (a picture is encoded, one at a
    time, or all of a poll with `transformers_batch`).
    """

    bootstrap: str
    input: str
    output: str
    group: str
    slot: str = "a"
    work: str = "copy"
    seconds: float = 0.0
    poll_records: int = 500
    session_seconds: float = 6.0
    transaction_seconds: float = 10.0

    def to_json(self) -> str:
        """As a loop's command line takes it."""
        return json.dumps(asdict(self))

    @property
    def function(self) -> Function:
        """What is done with the values of a poll: one answer for each, in order."""
        if self.work.startswith("transformers"):
            from benchmarks.loops import pictures

            return pictures.scorer(whole=self.work == "transformers_batch")
        one = {"copy": _copy, "judge": judge, "sleep": self._sleep}[self.work]
        return lambda values: map(one, values)

    def _sleep(self, value: bytes) -> bytes:
        time.sleep(self.seconds)
        return value


def _copy(value: bytes) -> bytes:
    return value


def judge(value: bytes) -> bytes:
    """`verdict` from JSON to JSON."""
    return json.dumps(verdict(json.loads(value))).encode()


def verdict(item: dict[str, Any]) -> dict[str, Any]:
    """The cheap function that all peers share, between reading JSON and writing it: count a word, compare."""
    score = item["text"].count("gun") / 10
    return {"item_id": item["id"], "action": "review" if score > 0.5 else "allow", "score": score}


def _consumer(job: Job, **more: Any) -> Any:
    from kafka import KafkaConsumer

    return KafkaConsumer(
        job.input, bootstrap_servers=job.bootstrap, group_id=job.group, auto_offset_reset="earliest",
        session_timeout_ms=round(1000 * job.session_seconds), heartbeat_interval_ms=round(200 * job.session_seconds),
        max_poll_records=job.poll_records, fetch_max_bytes=16_000_000, max_partition_fetch_bytes=2_000_000, **more,
    )  # fmt: skip


def _producer(job: Job, **more: Any) -> Any:
    from kafka import KafkaProducer

    return KafkaProducer(
        bootstrap_servers=job.bootstrap, acks="all", compression_type="lz4", batch_size=131_072, **more
    )


def _answer(job: Job, function: Function, producer: Any, records: dict[Any, list[Any]]) -> None:
    """Send each record's answer, which says whom it answers."""
    flat = [one for taken in records.values() for one in taken]
    for one, value in zip(flat, function([one.value for one in flat]), strict=True):
        source = (("partition", one.partition), ("offset", one.offset))
        headers = [(f"moderation.source.{name}", str(number).encode()) for name, number in source]
        producer.send(job.output, value, one.key, headers)


def _ends(records: dict[Any, list[Any]]) -> dict[Any, Any]:
    from kafka.structs import OffsetAndMetadata

    return {partition: OffsetAndMetadata(taken[-1].offset + 1, "", -1) for partition, taken in records.items()}


def tutorial(job: Job) -> None:
    """Consume, process, produce in transactions: on an error abort and go on, fenced producers end."""
    from kafka.errors import KafkaError, ProducerFencedError

    function = job.function
    producer = _producer(
        job, transactional_id=f"{job.group}.{job.slot}", transaction_timeout_ms=round(1000 * job.transaction_seconds)
    )
    producer.init_transactions()
    consumer = _consumer(job, enable_auto_commit=False, isolation_level="read_committed")
    while True:
        records = consumer.poll(timeout_ms=500)
        if not records:
            continue
        try:
            producer.begin_transaction()
            _answer(job, function, producer, records)
            producer.send_offsets_to_transaction(_ends(records), consumer.group_metadata())
            producer.commit_transaction()
        except ProducerFencedError:
            raise
        except KafkaError:
            producer.abort_transaction()


def at_least_once(job: Job) -> None:
    """Process, flush, then commit."""
    function = job.function
    producer = _producer(job)
    consumer = _consumer(job, enable_auto_commit=False)
    while True:
        records = consumer.poll(timeout_ms=500)
        if records:
            _answer(job, function, producer, records)
            producer.flush()
            consumer.commit(_ends(records))


def auto_commit(job: Job) -> None:
    """Process and hand over to the producer; the client commits every five seconds."""
    function = job.function
    producer = _producer(job)
    consumer = _consumer(job, enable_auto_commit=True)
    while True:
        _answer(job, function, producer, consumer.poll(timeout_ms=500))


LOOPS = {one.__name__: one for one in (tutorial, at_least_once, auto_commit)}

if __name__ == "__main__":
    LOOPS[sys.argv[1]](Job(**json.loads(sys.argv[2])))

"""Topics for a true worker, the settings of it, and everything that came out: its texts and pictures are judged by a recorded encoder, without torch."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

from moderation.encoder.recorded import load_recording, write_recording
from moderation.item import Modality
from moderation.policy.lock import Lock, lock_path, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.stream.dead_letter import PREFIX
from tests.conftest import ROOT
from tests.fakes import at, lock
from tests.stream.ground import committed

# The score of a text, or of a picture whose bytes are such a text, follows from its number; the recording knows them all, and needs no torch.
CONFIDENCES = [round(0.01 * number, 2) for number in range(1, 100)]

LEVELS = ("read_committed", "read_uncommitted")


class Place:
    """Topics of one test, the settings of its workers, and everything that came out."""

    def __init__(self, address: str, folder: Path, name: str, partitions: int = 3) -> None:
        self.address, self.folder, self.partitions = address, folder, partitions
        self.locks = folder / "locks"
        self.input, self.group, self.fed = f"in-{name}", f"group-{name}", 0
        self.outputs = {kind: f"{kind}-{name}" for kind in ("decisions", "review")} | {"dlq": f"{self.input}.dlq"}
        self._create(self.input, *self.outputs.values())
        self._prepare()

    def beside(self) -> Place:
        """The same input and builds for another group, whose outputs are its own."""
        other = copy(self)
        other.group = f"{self.group}-beside"
        other.outputs = {kind: f"{topic}-beside" for kind, topic in self.outputs.items()}
        other._create(*other.outputs.values())
        return other

    def _create(self, *topics: str) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.address)
        made = {topic: {"num_partitions": self.partitions, "replication_factor": 1} for topic in topics}
        admin.create_topics(made, wait_for_metadata=True)
        admin.close()

    def _prepare(self) -> None:
        recording = self.folder / "recorded.safetensors"
        texts = {str(one): at(one) for one in CONFIDENCES} | {"1.0": at(1.0), "0.0": at(0.0)}
        pictures = {text.encode(): vector for text, vector in texts.items()}
        write_recording(recording, name="made", texts=texts, images=pictures)
        self._fingerprint = load_recording(recording).fingerprint
        self.release(self.made("weapons"))

    def made(self, policy: str, **changes: Any) -> Lock:
        """A build on the recorded encoder."""
        both, seen = (Modality.TEXT, Modality.IMAGE), self._fingerprint
        return lock(policy, modalities=both, encoder_identity=seen.identity, encoder_numeric=seen.numeric, **changes)

    def release(self, made: Lock) -> None:
        """Put a build in its place, live."""
        write_lock(made, lock_path(self.locks, made.policy))
        self.record(made)

    def record(self, made: Lock) -> None:
        """Say that a build is live, wherever it is."""
        path = lock_path(self.locks, made.policy)
        change = Change("live", made.revision, made.policy_hash, "2026-11-28T00:00:00+00:00", "tests", "", {})
        record_path(path).write_text(encode_record(Record(made.policy, (change,))))

    def config(self, slot: str = "a", *, worker: str = "", **stream: Any) -> Path:
        """The settings of a worker; `stream` changes that section, `worker` are more lines of its own, and sections after it.

        The address of the brokers is `bootstrap`, which is not a key of the section itself.
        """
        path = self.folder / f"worker-{slot}.toml"
        bootstrap = stream.pop("bootstrap", self.address)
        calm = {
            "inputs": [self.input], "group": self.group, "slot": slot, "poll_records": 50, "session_seconds": 6.0,
            "commit_seconds": 15.0, "transaction_seconds": 10.0, "stall_seconds": 60.0,
        }  # fmt: skip
        path.write_text(
            f"""
[encoders.default]
loader = "recorded"
checkpoint = "{self.folder / "recorded.safetensors"}"

[stream]
{_toml({**calm, **stream})}

[stream.kafka]
bootstrap = ["{bootstrap}"]

[worker]
locks = {json.dumps(sorted(str(one) for one in self.locks.glob("*.lock.json")))}
decisions = "{self.outputs["decisions"]}"
dead_letters = "{self.outputs["dlq"]}"
review = {{topic = "{self.outputs["review"]}", actions = ["review"]}}
{worker}
""",
            encoding="utf-8",
        )
        return path

    def feed(self, values: Sequence[bytes | None]) -> None:
        """Write these records, in turn over all partitions; `fed` counts all that were written."""
        producer = KafkaProducer(bootstrap_servers=self.address)
        sent = [
            producer.send(self.input, value, key=str(number % 7).encode(), partition=number % self.partitions)
            for number, value in enumerate(values)
        ]
        for one in sent:
            one.get(timeout=30)
        producer.close()
        self.fed += len(values)

    def committed(self) -> int:
        """How many records the group has behind it."""
        return sum(committed(self.address, self.group).values())

    def read(self, kind: str) -> list[Any]:
        """Every committed record of an output."""
        return self.read_topic(self.outputs[kind])

    def read_topic(self, topic: str) -> list[Any]:
        """Every committed record of a topic."""
        reader = KafkaConsumer(bootstrap_servers=self.address, isolation_level="read_committed")
        partitions = [TopicPartition(topic, number) for number in range(self.partitions)]
        reader.assign(partitions)
        reader.seek_to_beginning(*partitions)
        ends = reader.end_offsets(partitions)
        found = []
        while any(reader.position(one) < end for one, end in ends.items()):
            for records in reader.poll(timeout_ms=200).values():
                found += records
        reader.close()
        return found

    def settle(self, seconds: float = 180.0) -> None:
        """Wait until no transaction is open on an output: one that a dead worker left holds back what stands behind it."""
        readers = [KafkaConsumer(bootstrap_servers=self.address, isolation_level=level) for level in LEVELS]
        places = [TopicPartition(topic, n) for topic in self.outputs.values() for n in range(self.partitions)]
        end = time.monotonic() + seconds
        while readers[0].end_offsets(places) != readers[1].end_offsets(places):
            assert time.monotonic() < end, "a transaction is still open"
            time.sleep(0.2)
        for one in readers:
            one.close()

    def answered(self) -> Counter[tuple[int, int]]:
        """How often each record of the input was answered, by a decision or a dead letter: by partition and offset."""
        found: Counter[tuple[int, int]] = Counter()
        for kind, prefix in (("decisions", "moderation.source."), ("dlq", PREFIX)):
            for record in self.read(kind):
                told = dict(record.headers)
                found[int(told[prefix + "partition"]), int(told[prefix + "offset"])] += 1
        return found

    def wait_for(self, count: int, seconds: float = 300.0) -> None:
        end = time.monotonic() + seconds
        while sum(self.answered().values()) < count:
            assert time.monotonic() < end, f"{sum(self.answered().values())} of {count} were answered"
            time.sleep(0.3)


def started(config: Path, *, code: str = "", log: Path | None = None, command: str = "worker") -> subprocess.Popen[str]:
    """A worker's process, or one that runs `code`; plugins are found beside its settings, and its log stands there, unless elsewhere."""
    words = ["-c", code, str(config)] if code else ["-m", "moderation", command, str(config)]
    paths = os.pathsep.join([str(config.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (log or config.with_suffix(".log")).open("a") as lines:
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=lines,
            stderr=lines,
            text=True,
        )


@contextmanager
def running(config: Path, *, code: str = "") -> Iterator[subprocess.Popen[str]]:
    process = started(config, code=code)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def texts(count: int, seed: int = 0) -> list[bytes]:
    """Good records."""
    chance = random.Random(seed)
    return [
        json.dumps({"id": f"item {number}", "text": str(chance.choice(CONFIDENCES))}).encode()
        for number in range(count)
    ]


# No item can be made of these.
POISON = (
    b"{nonsense",
    b"\x00\xff\xfe" * 50,
    b"[" * 50_000,
    b'{"id": "twice", "id": "twice", "text": "0.99"}',
    b'{"id": "unknown", "text": "0.99", "more": "0.99"}',
    b'{"id": "nothing"}',
    b'{"id": "number", "text": 0.99}',
    b'{"id": "base64", "image": "&&&"}',
    b'{"id": "bytes", "text": "\xff"}',
    b'{"id": "parts", "parts": {}}',
)


def mixed(count: int, seed: int = 0) -> list[bytes]:
    """Good records, and one in a hundred that is poison."""
    values = texts(count, seed)
    for turn, number in enumerate(range(seed % 100, count, 100)):
        values[number] = POISON[(seed + turn) % len(POISON)]
    return values


def _toml(values: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())

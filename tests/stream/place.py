"""Topics for a true worker, the settings of it, and everything that came out: its texts and pictures are judged by a recorded encoder, without torch."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

# The score of a text, or of a picture whose bytes are such a text, follows from its number; the recording knows them all, and needs no torch.
CONFIDENCES = [round(0.01 * number, 2) for number in range(1, 100)]


class Place:
    """Topics of one test, the settings of its workers, and everything that came out."""

    def __init__(self, address: str, folder: Path, name: str, partitions: int = 3) -> None:
        self.address, self.folder, self.partitions = address, folder, partitions
        self.input, self.group = f"in-{name}", f"group-{name}"
        self.outputs = {kind: f"{kind}-{name}" for kind in ("decisions", "review")} | {"dlq": f"{self.input}.dlq"}
        admin = KafkaAdminClient(bootstrap_servers=address)
        topics = {
            topic: {"num_partitions": partitions, "replication_factor": 1}
            for topic in (self.input, *self.outputs.values())
        }
        admin.create_topics(topics, wait_for_metadata=True)
        admin.close()
        self._prepare()

    def _prepare(self) -> None:
        recording = self.folder / "recorded.safetensors"
        texts = {str(one): at(one) for one in CONFIDENCES} | {"1.0": at(1.0), "0.0": at(0.0)}
        pictures = {text.encode(): vector for text, vector in texts.items()}
        write_recording(recording, name="made", texts=texts, images=pictures)
        encoder = load_recording(recording)
        made = lock(
            modalities=(Modality.TEXT, Modality.IMAGE),
            encoder_identity=encoder.fingerprint.identity,
            encoder_numeric=encoder.fingerprint.numeric,
        )
        self.release(made)

    def release(self, made: Lock) -> None:
        """Put a build in its place, live."""
        write_lock(made, lock_path(self.folder, "weapons"))
        change = Change("live", made.revision, made.policy_hash, "2026-11-28T00:00:00+00:00", "tests", "", {})
        record_path(lock_path(self.folder, "weapons")).write_text(encode_record(Record("weapons", (change,))))

    def config(self, slot: str = "a", *, worker: str = "") -> Path:
        """The settings of a worker; `worker` are more lines of its own section, and sections after it."""
        path = self.folder / f"worker-{slot}.toml"
        path.write_text(
            f"""
[encoders.default]
loader = "recorded"
checkpoint = "{self.folder / "recorded.safetensors"}"

[stream]
inputs = ["{self.input}"]
group = "{self.group}"
slot = "{slot}"
poll_records = 50
session_seconds = 6.0
commit_seconds = 15.0
transaction_seconds = 10.0
stall_seconds = 60.0

[stream.kafka]
bootstrap = ["{self.address}"]

[worker]
locks = ["weapons.lock.json"]
decisions = "{self.outputs["decisions"]}"
review = {{topic = "{self.outputs["review"]}", actions = ["review"]}}
{worker}
""",
            encoding="utf-8",
        )
        return path

    def feed(self, values: Sequence[bytes | None]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.address)
        sent = [
            producer.send(self.input, value, key=str(number % 7).encode(), partition=number % self.partitions)
            for number, value in enumerate(values)
        ]
        for one in sent:
            one.get(timeout=30)
        producer.close()

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

    def answered(self) -> Counter[tuple[int, int]]:
        """How often each record of the input was answered, by a decision or a dead letter: by partition and offset."""
        found: Counter[tuple[int, int]] = Counter()
        for kind, prefix in (("decisions", "moderation.source."), ("dlq", PREFIX)):
            for record in self.read(kind):
                told = dict(record.headers)
                found[int(told[prefix + "partition"]), int(told[prefix + "offset"])] += 1
        return found

    def wait_for(self, count: int, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while sum(self.answered().values()) < count:
            assert time.monotonic() < end, f"{sum(self.answered().values())} of {count} were answered"
            time.sleep(0.3)


def started(config: Path, *, code: str = "") -> subprocess.Popen[str]:
    words = ["-c", code, str(config)] if code else ["-m", "moderation", "worker", str(config)]
    with config.with_suffix(".log").open("a") as log:
        return subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=log, stderr=log, text=True)


@contextmanager
def running(config: Path, *, code: str = "") -> Iterator[subprocess.Popen[str]]:
    process = started(config, code=code)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def texts(count: int, seed: int = 0) -> list[bytes]:
    chance = random.Random(seed)
    return [
        json.dumps({"id": f"item {number}", "text": str(chance.choice(CONFIDENCES))}).encode()
        for number in range(count)
    ]

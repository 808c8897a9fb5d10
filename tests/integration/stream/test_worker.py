"""The true worker on a real broker, as its operators start it: every record is answered exactly once, whatever becomes of the process."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

from moderation.decision import Decision
from moderation.encoder.recorded import load_recording, write_recording
from moderation.item import Modality
from moderation.policy.lock import Lock, arrays_path, lock_path, read_lock, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.stream.dead_letter import PREFIX
from tests.conftest import ROOT
from tests.fakes import at, lock
from tests.services.keeper import Addresses

pytestmark = pytest.mark.needs_kafka

# A text's score follows from its number; the recording knows them all, and needs no torch.
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
        write_recording(recording, name="made", texts=texts)
        encoder = load_recording(recording)
        made = lock(
            modalities=(Modality.TEXT,),
            encoder_identity=encoder.fingerprint.identity,
            encoder_numeric=encoder.fingerprint.numeric,
        )
        self.release(made)

    def release(self, made: Lock) -> None:
        """Put a build in its place, live."""
        write_lock(made, lock_path(self.folder, "weapons"))
        change = Change("live", made.revision, made.policy_hash, "2026-11-28T00:00:00+00:00", "tests", "", {})
        record_path(lock_path(self.folder, "weapons")).write_text(encode_record(Record("weapons", (change,))))

    def config(self, slot: str = "a", *, plugins: str = "[]", detectors: str = "") -> Path:
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
        reader = KafkaConsumer(bootstrap_servers=self.address, isolation_level="read_committed")
        partitions = [TopicPartition(self.outputs[kind], number) for number in range(self.partitions)]
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


@pytest.fixture
def place(services: Addresses, tmp_path: Path) -> Place:
    return Place(services.kafka, tmp_path, random.Random().randbytes(5).hex())


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


def expected(count: int, partitions: int) -> Counter[tuple[int, int]]:
    return Counter({(number % partitions, number // partitions): 1 for number in range(count)})


def test_every_record_is_decided_once_and_poison_is_set_aside(place: Place) -> None:
    values: list[bytes | None] = [*texts(400)]
    poison = range(0, 400, 100)
    for number in poison:
        values[number] = b"{nonsense"
    values[7] = None
    place.feed(values)
    with running(place.config()) as process:
        place.wait_for(400)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert place.answered() == expected(400, place.partitions)
    letters = place.read("dlq")
    assert {record.value for record in letters} == {b"{nonsense"}
    assert len(letters) == len(poison)
    decisions = [Decision.from_dict(json.loads(record.value)) for record in place.read("decisions")]
    by_item = {one.item_id: one for one in decisions}
    for number, value in enumerate(values):
        if value is None or number in poison:
            continue
        score = float(json.loads(value)["text"])
        wanted = by_item[f"item {number}"]
        assert (wanted.action == "allow") == (wanted.verdicts[0].score < 0.5), score
    reviews = [json.loads(record.value)["item_id"] for record in place.read("review")]
    assert sorted(reviews) == sorted(one.item_id for one in decisions if one.action == "review")
    assert len({one.decision_id for one in decisions}) == len(decisions)


def test_kills_at_random_lose_and_repeat_nothing(place: Place) -> None:
    count, chance = 3000, random.Random(3)
    place.feed(texts(count))
    config = place.config()
    for _ in range(5):
        with running(config) as process:
            time.sleep(chance.uniform(1.5, 4.0))
            process.kill()
    with running(config):
        place.wait_for(count)
    assert place.answered() == expected(count, place.partitions)


KILLER = """
import os, sys
from pathlib import Path
from moderation.cli import main
from moderation.stream import envelope
read = envelope.read_item
def deadly(record, **options):
    if b"0.99" in (record.value or b""):
        os.abort()
    return read(record, **options)
envelope.read_item = deadly
main.main(["worker", sys.argv[1]])
"""


def test_a_record_that_kills_the_process_is_found_and_set_aside(place: Place) -> None:
    values = [
        json.dumps({"id": str(number), "text": "0.99" if number == 130 else "0.2"}).encode() for number in range(300)
    ]
    place.feed(values)
    config = place.config()
    deaths = 0
    for _ in range(20):
        with running(config, code=KILLER) as process:
            while process.poll() is None and sum(place.answered().values()) < len(values):
                time.sleep(0.3)
            if process.poll() is None:
                break
            deaths += 1
    assert place.answered() == expected(300, place.partitions)
    (letter,) = place.read("dlq")
    told = {name.removeprefix(PREFIX): value for name, value in letter.headers}
    assert (letter.value, told["stage"], told["attempts"]) == (values[130], b"crash", b"3")
    assert 3 <= deaths <= 8


def test_builds_are_replaced_while_it_runs_and_a_bad_one_is_not_taken(place: Place) -> None:
    first = read_lock(lock_path(place.folder, "weapons"))
    other = replace(first, version="2.0.0", actions=(replace(first.actions[0], threshold=0.3), *first.actions[1:]))
    config = place.config()
    config.write_text(config.read_text().replace("[worker]", "[worker]\nreload_seconds = 0.2"))
    with running(config):
        place.feed(texts(60))
        place.wait_for(60)
        place.release(other)
        time.sleep(2.0)
        place.feed(texts(60, seed=1))
        place.wait_for(120)
        arrays_path(lock_path(place.folder, "weapons")).write_bytes(b"a disk was full")
        time.sleep(2.0)
        place.feed(texts(60, seed=2))
        place.wait_for(180)
    decided = [Decision.from_dict(json.loads(record.value)) for record in place.read("decisions")]
    assert Counter(one.verdicts[0].revision for one in decided) == {first.revision: 60, other.revision: 120}
    assert {one.verdicts[0].status for one in decided} == {"live"}
    assert place.answered() == Counter({(n % 3, (n // 3) + 20 * batch): 1 for batch in range(3) for n in range(60)})


def test_two_workers_share_the_partitions_and_a_zombie_is_fenced(place: Place) -> None:
    count = 2000
    place.feed(texts(count))
    with running(place.config("a")) as first, running(place.config("b")):
        place.wait_for(200)
        first.send_signal(signal.SIGSTOP)  # beyond the session: its partitions move, and it comes back
        place.wait_for(count)
        first.send_signal(signal.SIGCONT)
        time.sleep(3.0)
    assert place.answered() == expected(count, place.partitions)


def test_settings_that_lack_something_are_told(tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text("[cache]\nmax_bytes = 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "moderation", "worker", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "needs the section [stream]" in done.stderr) == (2, True), done.stderr


def test_the_recording_scores_as_the_fake_encoder_does() -> None:
    assert np.allclose(np.linalg.norm([at(one) for one in CONFIDENCES], axis=1), 1.0)

"""The true worker on a real broker, as its operators start it: every record is answered exactly once, whatever becomes of the process."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaProducer

from moderation.assemble import stream_settings
from moderation.cli.main import run
from moderation.decision import Decision
from moderation.policy.lock import arrays_path, lock_path, read_lock
from moderation.settings import load_settings
from moderation.stream.dead_letter import PREFIX, Stage
from moderation.stream.letters import DeadLetterTopic
from tests.conftest import ROOT
from tests.fakes import at
from tests.stream.place import CONFIDENCES, Place, running, texts

pytestmark = pytest.mark.needs_kafka


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


class Foreign(str):
    """A header's name as a producer in another language may write it: bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return NAME


NAME = b"na\xefve"


def test_a_header_whose_name_is_no_utf8_is_set_aside_with_its_bytes_and_goes_back_with_them(place: Place) -> None:
    values = texts(30)
    headers = [("id", b"odd"), (Foreign("x"), b"told"), ("trace", b"1")]
    place.feed(values[:15])
    producer = KafkaProducer(bootstrap_servers=place.address)
    offset = producer.send(place.input, values[0], b"key", headers, partition=0).get(30).offset
    producer.close()
    place.feed(values[15:])
    config = place.config()
    settings = stream_settings(load_settings(config))
    with running(config) as process, DeadLetterTopic(place.outputs["dlq"], settings) as letters:
        end = time.monotonic() + 60
        while len(place.read("decisions")) < 30 or not letters.find().letters:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.3)
        assert run(["dlq", "replay", str(config), "--yes"]) == 0
        while len(found := letters.find().letters) < 2:  # it came again, and was set aside again
            assert time.monotonic() < end
            time.sleep(0.3)
        assert process.poll() is None
        kept = list(letters.records([one.place for one in found]))
    assert {(one.told.offset, one.told.stage, one.told.cause) for one in found} == {
        (offset, Stage.DECODE, "not_utf8"),
        (10 + 1, Stage.DECODE, "not_utf8"),
    }
    for letter in kept:
        own = [(name.encode(), value) for name, value in letter.headers if not name.startswith(PREFIX)]
        assert (letter.key, letter.value, own) == (
            b"key",
            values[0],
            [(b"id", b"odd"), (NAME, b"told"), (b"trace", b"1")],
        )


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

"""The true worker on a real broker, as its operators start it: every record is answered exactly once, whatever becomes of the process."""

from __future__ import annotations

import json
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
from moderation.errors import ExitCode
from moderation.policy.lock import arrays_path, lock_path, read_lock
from moderation.settings import load_settings
from moderation.stream.dead_letter import PREFIX, Stage
from moderation.stream.letters import DeadLetterTopic
from tests.conftest import ROOT
from tests.fakes import at
from tests.integration.stream.test_operation import wait_for_reloads
from tests.services.process import free_ports
from tests.stream.crew import SHORT, Crew
from tests.stream.forms import forms
from tests.stream.place import CONFIDENCES, POISON, Place, mixed, running, texts
from tests.stream.tally import tally

pytestmark = pytest.mark.needs_kafka


@forms("count", short=1000, full=100_000)
def test_every_record_is_decided_once_and_poison_is_set_aside(place: Place, count: int) -> None:
    values: list[bytes | None] = [*mixed(count)]
    values[7] = None
    place.feed(values)
    with Crew(place, place.config()) as crew:
        crew.work(within=600)
        crew.drain()
        assert crew.ends.total() == 0
    assert tally(place).whole
    letters = place.read("dlq")
    assert Counter(one.value for one in letters) == Counter(one for one in values if one in POISON)
    assert {one.value for one in letters} == set(POISON)
    decisions = [Decision.from_dict(json.loads(one.value)) for one in place.read("decisions")]
    assert all((one.action == "allow") == (one.verdicts[0].score < 0.5) for one in decisions if one.verdicts)
    assert sum(not one.verdicts for one in decisions) == 1
    reviews = [json.loads(record.value)["decision_id"] for record in place.read("review")]
    assert sorted(reviews) == sorted(one.decision_id for one in decisions if one.action == "review")
    assert len({one.decision_id for one in decisions}) == len(decisions)


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
    values = [json.dumps({"id": str(n), "text": "0.99" if n == 130 else "0.2"}).encode() for n in range(300)]
    place.feed(values)
    deadly = (ExitCode.OK, -signal.SIGABRT)
    with Crew(place, place.config(**{**SHORT, "session_seconds": 2.0}), code=KILLER, again=deadly) as crew:
        crew.work()
        crew.drain()
    assert tally(place, doomed={values[130]}).whole
    (letter,) = place.read("dlq")
    told = {name.removeprefix(PREFIX): value for name, value in letter.headers}
    assert (letter.value, told["stage"], told["attempts"]) == (values[130], b"crash", b"3")
    assert 3 <= crew.ends[-signal.SIGABRT] <= 8


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
        end = time.monotonic() + 180
        while len(place.read("decisions")) < 30 or not list(letters.find()):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.3)
        assert run(["dlq", "replay", str(config), "--yes"]) == 0
        while len(found := list(letters.find())) < 2:  # it came again, and was set aside again
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
    first = read_lock(lock_path(place.locks, "weapons"))
    other = replace(first, version="2.0.0", actions=(replace(first.actions[0], threshold=0.3), *first.actions[1:]))
    (port,) = free_ports(1)
    config = place.config(worker=f"reload_seconds = 0.2\nprobe = {{port = {port}}}")
    with running(config):
        place.feed(texts(60))
        place.wait_for(60)
        place.release(other)
        wait_for_reloads(port, "taken", 1)
        place.feed(texts(60, seed=1))
        place.wait_for(120)
        arrays_path(lock_path(place.locks, "weapons")).write_bytes(b"a disk was full")
        wait_for_reloads(port, "refused", 1)
        place.feed(texts(60, seed=2))
        place.wait_for(180)
    decided = [Decision.from_dict(json.loads(record.value)) for record in place.read("decisions")]
    assert Counter(one.verdicts[0].revision for one in decided) == {first.revision: 60, other.revision: 120}
    assert {one.verdicts[0].status for one in decided} == {"live"}
    first_cut = {first.revision: 0.9, other.revision: 0.3}
    assert all(
        (one.action == "remove") == (one.verdicts[0].score >= first_cut[one.verdicts[0].revision]) for one in decided
    )
    assert replace(tally(place), wrong=0).whole  # the tally knows the first build alone
    said = config.with_suffix(".log").read_text()
    assert f"policy weapons: revision {first.revision}, status live" in said
    assert f"policy weapons: revision {first.revision} -> {other.revision} policy=weapons" in said


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

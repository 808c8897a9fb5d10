"""`moderation dlq` on a real broker: letters are counted and shown without their content, and go back as they were, each exactly once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition

from moderation import assemble
from moderation.cli.main import run
from moderation.errors import ExitCode, StreamError
from moderation.settings import load_settings
from moderation.stream import letters, replay
from moderation.stream.batch import Partition, Record
from moderation.stream.dead_letter import PREFIX, DeadLetter, Stage, read_dead_letter
from moderation.stream.letters import Place as LetterPlace
from tests.conftest import ROOT
from tests.stream.ground import Ground
from tests.stream.place import Place, running

pytestmark = pytest.mark.needs_kafka

Told = Callable[..., Any]
LETTERS = [  # key, value, headers, partition: what a record may be
    (b"author", b"{nonsense", (("content-type", b"application/json"), ("id", b"1"), ("id", b"2")), 0),
    (None, b"\x00\xff", (), 1),
    (b"author", None, (("trace", b""),), 2),
    (b"", b"", (("t\xe4st", b"\x80"),), 1),
]


@pytest.fixture
def told(place: Place, capfd: pytest.CaptureFixture[str]) -> Told:
    """What a command says, as JSON; its exit code must be 0."""

    def tell(*words: str) -> Any:
        capfd.readouterr()
        code = run(["dlq", words[0], str(place.config()), *words[1:], "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        return json.loads(out)

    return tell


def put(place: Place, *stages: Stage, inputs: str = "") -> list[Record]:
    """One letter of each stage, the records of `LETTERS` in turn, as a worker publishes them."""
    producer = KafkaProducer(bootstrap_servers=place.address)
    records = []
    for number, stage in enumerate(stages):
        key, value, headers, partition = LETTERS[number % len(LETTERS)]
        record = Record(Partition(inputs or place.input, partition), number, 1000, key, value, headers, 0)
        letter = DeadLetter(record.partition, number, 1000, stage, f"cause_{number}", "no item", 1, "w=1", "a", 2000)
        output = letter.to_output(record, place.outputs["dlq"])
        producer.send(output.topic, output.value, output.key, list(output.headers)).get(timeout=30)
        records.append(record)
    producer.close()
    return records


def back(place: Place) -> list[Any]:
    """Everything in the input."""
    return place.read_topic(place.input)


def kept(record: Any) -> tuple[Any, ...]:
    """A record's own part, without what is said of it."""
    return record.key, record.value, tuple(one for one in record.headers if not one[0].startswith(PREFIX))


def test_letters_go_back_as_they_were_and_once(place: Place, told: Told) -> None:
    records = put(place, *[Stage.DECODE] * 4)
    assert told("replay")["done"] is False
    assert back(place) == []
    assert len(told("replay", "--yes")["replayed"]) == 4
    found = back(place)
    assert Counter(map(kept, found)) == Counter(map(kept, records))
    assert {(one.partition, one.value) for one in found} == {(one.partition.number, one.value) for one in records}
    assert {dict(one.headers)[PREFIX + "replays"] for one in found} == {b"1"}
    again = told("replay", "--yes")
    assert (again["replayed"], {one["why"] for one in again["left"]}) == ([], {"replayed already"})
    assert len(back(place)) == 4
    listed = told("list")
    assert (listed["waiting"], listed["replayed"], listed["foreign"]) == (0, 4, 0)


def test_without_transactions_letters_go_back_too(place: Place) -> None:
    records = put(place, Stage.DECODE, Stage.PUBLISH)
    config = place.config()
    config.write_text(config.read_text().replace("[stream]", '[stream]\ndelivery = "at_least_once"'))
    for _ in range(2):
        assert run(["dlq", "replay", str(config), "--yes"]) == 0
    assert Counter(map(kept, back(place))) == Counter(map(kept, records))


def test_without_transactions_a_record_that_its_topic_refuses_does_not_count_as_replayed(place: Place) -> None:
    narrow = Ground.made(place.address, 3, **{"max.message.bytes": "100"})
    put(place, Stage.DECODE, inputs=narrow.input)
    config = place.config(delivery="at_least_once", inputs=[narrow.input])
    assert run(["dlq", "replay", str(config), "--yes"]) == ExitCode.UNWRITABLE
    with assemble.dead_letters(load_settings(config)) as topic:
        assert [one.replayed for one in topic.find()] == [False]


def test_letters_that_retention_deleted_or_that_never_were_are_left_out_and_the_others_are_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, *[Stage.DECODE] * 12)
    with assemble.dead_letters(load_settings(place.config())) as topic:
        places = [one.place for one in topic.find()]
        first = min(places)
        admin = KafkaAdminClient(bootstrap_servers=place.address)
        admin.delete_records({TopicPartition(topic.name, first.partition): first.offset + 1})
        admin.close()
        found = [LetterPlace(one.partition.number, one.offset) for one in topic.records(places)]
        assert sorted(found) == sorted(places)[1:]
        never = LetterPlace(first.partition, 10**6)
        assert [list(topic.records([one])) for one in (first, never)] == [[], []]
        monkeypatch.setattr(letters, "WINDOW", 3)
        assert sorted(one.place for one in topic.find()) == sorted(places)[1:]


def test_letters_that_retention_deletes_while_they_are_looked_for_are_left_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(place, *[Stage.DECODE] * 40)
    monkeypatch.setattr(letters, "WINDOW", 3)
    with assemble.dead_letters(load_settings(place.config())) as topic:
        walk = iter(topic.find())
        last = next(walk).place
        admin = KafkaAdminClient(bootstrap_servers=place.address)
        ends = topic._ends()
        admin.delete_records({TopicPartition(topic.name, number): max(0, end - 4) for number, end in ends.items()})
        admin.close()
        found = [last, *(one.place for one in walk)]
        assert all(one.offset >= ends[one.partition] - 4 for one in found)
        assert len(found) == sum(min(4, end) for end in ends.values())


def test_letters_are_counted_chosen_and_shown_without_their_content(
    place: Place, told: Told, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(place, Stage.DECODE, Stage.CRASH)
    time.sleep(0.01)
    middle = time.time()
    time.sleep(0.01)
    put(place, Stage.DECODE)
    producer = KafkaProducer(bootstrap_servers=place.address)
    producer.send(place.outputs["dlq"], b"somebody else's").get(timeout=30)
    producer.close()
    listed = told("list")
    assert (listed["waiting"], listed["foreign"], listed["counts"][1]) == (
        3, 1, {"stage": "decode", "cause": "cause_0", "letters": 2},
    )  # fmt: skip
    assert [one["stage"] for one in told("list", "--stage", "crash")["newest"]] == ["crash"]
    assert told("list", "--cause", "cause_0", "--limit", "1")["waiting"] == 2
    at = time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(middle % 1 * 1e6):06d}+00:00", time.gmtime(middle))
    assert (told("list", "--since", at)["waiting"], told("list", "--until", at)["waiting"]) == (1, 2)
    where = told("list", "--stage", "crash")["newest"][0]["place"]
    out = tmp_path / "value.bin"
    one = told("show", where, "--out", str(out))
    assert (one["key_bytes"], one["value_bytes"], one["attempts"], one["revisions"]) == (None, 2, 1, "w=1")
    assert (out.read_bytes(), out.stat().st_mode & 0o777) == (b"\x00\xff", 0o600)
    for words in (["list"], ["show", told("list")["newest"][-1]["place"]], ["replay"]):
        assert run(["dlq", words[0], str(place.config()), *words[1:]]) == 0
    said = "".join(capfd.readouterr())
    assert "cause_0" in said
    assert "nonsense" not in said
    assert "author" not in said


def test_what_cannot_go_back_is_left_and_told(place: Place, told: Told) -> None:
    put(place, Stage.DECODE, inputs="another-topic")
    record = Record(Partition(place.input, 0), 5, 1000, b"k", b"x" * 50, (), 51)
    letter = DeadLetter(record.partition, 5, 1000, Stage.PUBLISH, "too_large", "", 1, "", "a", 2000, replays=2)
    producer = KafkaProducer(bootstrap_servers=place.address)
    topic, whole = place.outputs["dlq"], letter.to_output(record, place.outputs["dlq"])
    for output in (letter.to_output(record, topic, largest=whole.size - 1), whole):
        producer.send(output.topic, output.value, output.key, list(output.headers)).get(timeout=30)
    producer.close()
    left = Counter(one["why"].partition(":")[0] for one in told("replay", "--most-replays", "2", "--yes")["left"])
    assert left == Counter(
        {
            "from a topic that is no input of these settings": 1,
            "too large to be kept": 1,
            "replayed too often before it came here again": 1,
        }
    )
    assert back(place) == []
    assert len(told("replay", "--yes")["replayed"]) == 1
    assert run(["dlq", "replay", str(place.config()), "0:999999"]) == ExitCode.USAGE
    assert run(["dlq", "show", str(place.config()), "0:999999"]) == ExitCode.USAGE


def test_a_replay_that_dies_or_has_a_rival_repeats_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    put(place, *[Stage.DECODE] * 8)
    settings = load_settings(place.config())
    monkeypatch.setattr(replay, "AT_ONCE", 2)
    monkeypatch.setattr(letters, "WINDOW", 2)  # letters and their markers, and those of transactions, lie in several
    with assemble.dead_letters(settings) as topic:
        records = list(topic.records([one.place for one in topic.find()]))

    def dying() -> Iterator[Record]:
        yield from records[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), assemble.replay(settings) as first:
        list(first.send(dying()))
    slow = assemble.replay(settings)
    with assemble.replay(settings) as rival, assemble.dead_letters(settings) as topic:
        waiting = [one.place for one in topic.find() if not one.replayed]
        assert len(waiting) == 4  # what a transaction that was never committed held is not replayed
        assert sum(rival.send(topic.records(waiting))) == 4
    with pytest.raises(StreamError) as caught:
        list(slow.send(records))
    slow._producer.close(timeout=1)
    assert caught.value.exit_code in {ExitCode.FENCED, ExitCode.RESTART}  # as the client comes to name it
    assert Counter(map(kept, back(place))) == Counter(map(kept, records))


def test_a_record_that_is_still_poison_comes_back_with_its_attempts_and_replays_counted(
    place: Place, told: Told
) -> None:
    place.feed([b"{nonsense"])
    with running(place.config()):
        place.wait_for(1)
        for count in (1, 2):
            assert len(told("replay", "--yes")["replayed"]) == 1
            end = time.monotonic() + 180
            while told("list")["waiting"] == 0:
                assert time.monotonic() < end
                time.sleep(0.2)
            (one,) = told("list")["newest"]
            assert (one["attempts"], one["replays"], one["stage"]) == (count + 1, count, "decode")
    assert told("replay", "--most-replays", "2")["replayed"] == []
    found = [read_dead_letter(as_record(one)) for one in place.read("dlq")]
    assert len({one.first_failed_ms for one in found if one}) == 1


def as_record(one: Any) -> Record:
    partition = Partition(one.topic, one.partition)
    return Record(partition, one.offset, one.timestamp, one.key, one.value, tuple(one.headers), 0)


def test_a_topic_that_is_not_there_and_brokers_that_are_away(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    config = place.config()
    config.write_text(config.read_text().replace(place.outputs["dlq"], "nowhere"))
    assert run(["dlq", "list", str(config)]) == ExitCode.UNAVAILABLE
    assert "there is no topic 'nowhere'" in capfd.readouterr().err
    config.write_text(
        config.read_text().replace(place.address, "127.0.0.1:1").replace("[stream]", "[stream]\nrequest_seconds = 1.0")
    )
    command = [sys.executable, "-m", "moderation", "dlq", "list", str(config)]  # the client leaves sockets open
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == ExitCode.UNAVAILABLE

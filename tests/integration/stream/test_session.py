"""What a session promises while nothing fails: values in and out, the group's moves told, budgets kept, errors with a code."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.structs import TopicPartition

from moderation.errors import ExitCode, OutputError, StreamError
from moderation.sections import StreamSettings
from moderation.stream import session as module
from moderation.stream.batch import Batch, Output, Partition, Position, Record
from moderation.stream.session import Session
from tests.services import proxy as kinds
from tests.services.keeper import Addresses
from tests.services.proxy import FaultProxy
from tests.stream.actor import Actor
from tests.stream.ground import Ground

pytestmark = pytest.mark.needs_kafka


@contextmanager
def opened(ground: Ground, slot: str = "a", **changes: Any) -> Iterator[Session]:
    settings = StreamSettings.model_validate_json(ground.settings_json(slot, **changes))
    with Session(settings) as session:
        yield session


def next_records(session: Session, count: int = 1) -> Batch:
    """One batch of at least so many records, as if one poll had returned them."""
    records: tuple[Record, ...] = ()
    for batch in polls(session):
        records += batch.records
        if len(records) >= count:
            return Batch(batch.membership, records)
    raise AssertionError


def next_assigned(session: Session) -> tuple[Position, ...]:
    return next(batch.assigned for batch in polls(session) if batch.assigned)


def moved(session: Session, other: Actor) -> tuple[tuple[Position, ...], list[Any]]:
    """Both poll until the group has moved for the session: what it is assigned, and what the other was told in the same breath."""
    for _ in range(120):
        other.tell("poll", 0.5)
        mine, others = session.poll(0.5).assigned, other.answer()["assigned"]
        if mine:
            return mine, others or []
    raise TimeoutError


def polls(session: Session) -> Iterator[Batch]:
    for _ in range(120):
        yield session.poll(0.5)
    raise TimeoutError


def poll_until_progress(session: Session) -> None:
    """Empty polls, until one has just found that nothing is left to do."""
    next(None for batch in polls(session) if not batch.records and session.progress.seconds() < 0.3)


def copies(ground: Ground, batch: Batch) -> list[Output]:
    return [Output(ground.output, one.value, one.key) for one in batch.records]


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_all_outputs_of_a_batch_go_out_together(ground: Ground, delivery: str) -> None:
    with opened(ground, delivery=delivery, request_seconds=10.0, commit_seconds=10.0) as session:
        ground.feed([0])
        batch = next_records(session)
        assert session.commit(batch, [Output(ground.output, b"a value", b"%d" % number) for number in range(500)])
        told = session._producer.metrics()["producer-metrics"]
        assert told["records-per-request-avg"] == 500  # one broker, one request


def test_a_key_decides_where_an_output_lies_as_with_every_client(services: Addresses) -> None:
    ground = Ground.made(services.kafka, 5)
    ground.feed([0])
    keys = [b"", *(b"a key %d" % number for number in range(50))]
    with opened(ground) as session:
        batch = next_records(session)
        assert session.commit(batch, [Output(ground.output, key, key) for key in keys])
    producer = KafkaProducer(bootstrap_servers=ground.address)
    sent = {key: producer.send(ground.output, key, key).get(10).partition for key in keys}
    producer.close()
    lying = [(value, partition.partition) for partition, value in ground.read()]
    assert sorted(lying) == sorted(2 * list(sent.items()))
    assert set(sent.values()) == set(range(5))


def test_what_has_no_key_lies_together_in_its_order_each_commit_somewhere_else(services: Addresses) -> None:
    ground = Ground.made(services.kafka, 2)
    ground.feed(range(30))
    places = []
    with opened(ground, poll_records=1) as session:
        for number in range(30):
            batch = next_records(session)
            values = [b"%d" % (100 * number + one) for one in range(20)]
            assert session.commit(batch, [Output(ground.output, value) for value in values])
            places.append(values)
    lying: dict[int, list[bytes]] = {}
    for partition, value in ground.read():
        lying.setdefault(partition.partition, []).append(value)
    assert set(lying) == {0, 1}  # 30 draws
    for partition, values in lying.items():
        own = [one for commit in places if commit[0] in values for one in commit]
        assert values == own, partition


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_records_come_as_they_are_and_outputs_go_to_several_topics_as_they_are(ground: Ground, delivery: str) -> None:
    producer = KafkaProducer(bootstrap_servers=ground.address)
    then = round(time.time() * 1000) - 5000
    producer.send(ground.input, b"\xff\x00", b"key", [("a", b"1"), ("a", b"")], 0, timestamp_ms=then).get(10)
    producer.send(ground.input, None, b"gone", partition=0).get(10)
    producer.close()
    other = Ground.made(ground.address, 1)
    with opened(ground, delivery=delivery, outputs=[ground.output, other.output]) as session:
        batch = next_records(session, 2)
        first, second = batch.records
        assert (first.partition, first.offset, first.timestamp_ms) == (Partition(ground.input, 0), 0, then)
        assert (first.key, first.value, first.headers, first.size) == (
            b"key",
            b"\xff\x00",
            (("a", b"1"), ("a", b"")),
            8,
        )
        assert (second.key, second.value, second.headers, second.size) == (b"gone", None, (), 4)
        assert session.in_flight == (2, 12)
        out = Output(ground.output, b"decided", b"key", (("h", b"v"),), partition=1)
        assert session.commit(batch, [out, Output(other.output, b"letter")])
        assert session.in_flight == (0, 0)
    assert ground.read() == [(TopicPartition(ground.output, 1), b"decided")]
    assert other.read() == [(TopicPartition(other.output, 0), b"letter")]
    assert ground.committed() == {0: 2}


def test_neither_values_nor_logs_tell_content(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ground.feed([12345678])
    logging.getLogger("kafka").setLevel(logging.NOTSET)
    with caplog.at_level(logging.DEBUG), opened(ground) as session:
        batch = next_records(session)
        session.commit(batch, copies(ground, batch))
        assert "12345678" not in repr(batch) + repr(copies(ground, batch))
    assert "12345678" not in caplog.text


def test_a_batch_may_be_committed_in_parts_but_never_out_of_turn(services: Addresses) -> None:
    ground = Ground.made(services.kafka, 1)
    ground.feed(range(10))
    with opened(ground) as session:
        batch = next_records(session, 10)
        first, second = batch.split(5)
        with pytest.raises(ValueError, match="not the oldest that are open"):
            session.commit(second, copies(ground, second))
        assert session.commit(first, copies(ground, first))
        with pytest.raises(ValueError, match="not the oldest that are open"):
            session.commit(batch, copies(ground, batch))
        assert session.commit(second, copies(ground, second))
    assert ground.counted() == dict.fromkeys(range(10), 1)


def test_an_output_that_cannot_be_meant_is_refused_before_anything_is_sent(ground: Ground) -> None:
    ground.feed(range(1))
    with opened(ground) as session:
        batch = next_records(session)
        first, nothing = batch.split(len(batch.records))
        with pytest.raises(ValueError, match="'elsewhere' is not among the outputs"):
            session.commit(batch, [Output("elsewhere", b"1")])
        with pytest.raises(ValueError, match="without a record"):
            session.commit(nothing, copies(ground, first))
        assert session.commit(nothing)
        assert session.commit(first, copies(ground, first))
    assert ground.counted() == {0: 1}


def test_an_output_that_is_too_large_is_told_before_anything_is_sent(ground: Ground) -> None:
    ground.feed(range(1))
    with opened(ground, output_bytes=10_000) as session:
        batch = next_records(session)
        with pytest.raises(OutputError, match="at most 10000 may be published") as caught:
            session.commit(batch, [Output(ground.output, b"1"), Output(ground.output, bytes(10_000))])
        assert (caught.value.index, caught.value.limit) == (1, 10_000)
        largest = Output(ground.output, bytes(10_000 - Output(ground.output, b"").size))
        assert session.commit(batch, [largest])
    assert [len(value) for _, value in ground.read()] == [len(largest.value or b"")]


def test_a_rebalance_in_the_middle_of_a_batch_voids_it_and_loses_nothing(ground: Ground) -> None:
    ground.feed(range(20))
    with opened(ground) as session, Actor(ground.settings("b")) as other:
        batch = next_records(session)
        (mine,), _ = moved(session, other)
        assert session.in_flight == (0, 0)
        assert session.commit(batch, copies(ground, batch)) is False
        again = next_records(session)
        assert {record.partition for record in again.records} == {mine.partition}
        assert session.commit(again, copies(ground, again))
        other.work(ground, 20)
    assert ground.counted() == dict.fromkeys(range(20), 1)


def test_who_closes_hands_over_at_once(ground: Ground) -> None:
    with opened(ground, session_seconds=20) as session:
        next_assigned(session)
    with opened(ground, "b", session_seconds=20) as session:
        started = time.monotonic()
        next_assigned(session)
        assert time.monotonic() - started < 10
    with pytest.raises(StreamError, match="the session is closed"):
        session.poll()


def test_a_static_member_that_comes_back_in_time_disturbs_nobody(ground: Ground) -> None:
    settings = {slot: ground.settings(slot, static_member=True, session_seconds=10.0) for slot in "ab"}
    with Actor(settings["b"]) as other:
        other.poll_until("assigned")
        with Actor(settings["a"]) as actor:
            (mine,) = together(actor, other)
            actor.do("close")
        with Actor(settings["a"]) as actor:
            assert actor.poll_until("assigned", tries=4)["assigned"] == [mine]
        assert other.do("poll", 0.5)["assigned"] is None


def together(first: Actor, second: Actor) -> list[Any]:
    """Both poll until the first has an assignment: what it is."""
    for _ in range(120):
        second.tell("poll", 0.5)
        found = first.do("poll", 0.5)["assigned"]
        second.answer()
        if found:
            return list(found)
    raise TimeoutError


def test_a_worker_in_a_slot_that_is_taken_over_is_told_so_and_the_new_one_is_not_disturbed(ground: Ground) -> None:
    ground.feed(range(20))
    with Actor(ground.settings("a")) as old:
        batch = old.poll_until("records")
        with Actor(ground.settings("a")) as new:
            answer = old.do("commit", batch["batch"], ground.output)
            assert answer["exit_code"] == ExitCode.FENCED
            old.send(signal.SIGKILL)
            new.work(ground, 20)
    assert ground.counted() == dict.fromkeys(range(20), 1)


def test_a_worker_that_was_paused_beyond_its_transaction_starts_again_by_itself(
    ground: Ground, proxy: FaultProxy
) -> None:
    """The brokers fence out whoever left a transaction open for too long: that calls for no person, as a second worker in the slot does."""
    ground.feed(range(20))
    settings = ground.settings(bootstrap=proxy.address, transaction_seconds=1.0, session_seconds=20.0)
    with Actor(settings) as actor:
        batch = actor.poll_until("records")
        proxy.on_answer(kinds.PRODUCE, lambda: actor.send(signal.SIGSTOP))
        actor.tell("commit", batch["batch"], ground.output)
        time.sleep(4)
        actor.send(signal.SIGCONT)
        assert actor.answer()["exit_code"] == ExitCode.RESTART
    assert ground.counted() == {}


def test_a_static_member_that_was_replaced_may_poll_but_commits_nothing(ground: Ground) -> None:
    settings = ground.settings(static_member=True, delivery="at_least_once")
    with Actor(settings) as old, Actor(settings) as new:
        old.poll_until("assigned")
        new.poll_until("assigned")
        ground.feed(range(4))
        batch = old.do("poll", 1.0)
        if batch["records"]:  # the client goes on with its old assignment, and says nothing
            assert old.do("commit", batch["batch"], ground.output)["exit_code"] == ExitCode.FENCED
        new.work(ground, 4)
    assert set(ground.counted()) == set(range(4))


@pytest.mark.needs_own_kafka
def test_empty_polls_of_a_broker_that_is_stuck_are_no_progress(
    ground: Ground, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.1)
    with opened(ground, bootstrap=proxy.address) as session:
        next_assigned(session)
        poll_until_progress(session)
        proxy.stall()
        for _ in range(2):
            assert session.poll(0.5) == Batch(session.poll(0.1).membership)
        assert session.progress.seconds() > 1
        proxy.flow()
        while session.progress.seconds() > 1:
            session.poll(0.5)


def test_having_nothing_to_do_is_progress_also_behind_the_marks_of_a_transaction(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.1)
    producer = KafkaProducer(bootstrap_servers=ground.address, transactional_id=ground.input)
    producer.init_transactions()
    for number in range(2):
        producer.begin_transaction()
        producer.send(ground.input, str(number).encode(), partition=0)
        producer.commit_transaction() if number == 0 else producer.abort_transaction()
    producer.close()
    with opened(ground) as session:
        batch = next_records(session)
        session.poll(0.5)
        assert session.progress.seconds() > 0.3  # what is in flight is owed
        session.commit(batch, copies(ground, batch))
        poll_until_progress(session)
        assert set(session.lag.values()) == {0}
        session.pause()
        ground.feed(range(2, 12))
        session.poll(0.5)
        assert sum(session.lag.values()) == 10
    assert ground.counted() == {0: 1}


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_note_outlives_the_death_of_who_left_it(ground: Ground, delivery: str) -> None:
    ground.feed(range(20))
    settings = ground.settings(delivery=delivery, session_seconds=1.5)
    with Actor(settings) as actor:
        batch = actor.poll_until("records")
        actor.do("commit", batch["batch"], ground.output)
        ground.feed(range(20, 30))
        batch = actor.poll_until("records")
        assert actor.do("mark", batch["batch"], "attempt 1") == {"done": True}
        actor.send(signal.SIGKILL)
    starts = {(partition, offset) for partition, offset, _ in reversed(batch["records"])}
    with Actor(settings) as actor:
        found = actor.poll_until("assigned")["assigned"]
        noted = [(partition, offset) for partition, offset, note in found if note == "attempt 1"]
        assert noted
        assert set(noted) <= starts
        actor.work(ground, 30)
        actor.do("close")
    with Actor(settings) as actor:
        assert [note for _, _, note in actor.poll_until("assigned")["assigned"]] == ["", ""]
    assert ground.counted() == dict.fromkeys(range(30), 1)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_note_of_a_live_member_whose_partitions_are_taken_away_tells_of_no_death(
    ground: Ground, delivery: str
) -> None:
    ground.feed(range(20))
    # longer than the other tests' 3 s: a busy machine that starves a heartbeat for so long were a death
    patient: dict[str, Any] = {"delivery": delivery, "session_seconds": 10.0}
    with opened(ground, **patient) as session:
        tried = next_records(session, 20)
        assert session.mark(tried, "tried here", otherwise="nobody died")
        with Actor(ground.settings("b", **patient)) as other:
            mine, others = moved(session, other)
            others = others or other.poll_until("assigned")["assigned"]
            notes = [one.note for one in mine] + [note for _, _, note in others]
            assert notes == ["nobody died"] * 2
            assert not session.commit(tried, copies(ground, tried))
            other.do("close")
    with opened(ground, delivery=delivery) as session:
        assert [one.note for one in next_assigned(session)] == ["nobody died"] * 2


def test_what_was_marked_under_an_assignment_that_is_over_is_not_spoken_of_in_the_next(ground: Ground) -> None:
    ground.feed(range(20))
    with opened(ground, session_seconds=1.5) as session:
        assert session.mark(next_records(session, 20), "tried here", otherwise="nobody died")
        for slot in "bc":  # each comes and goes, and nothing is polled in between
            with Actor(ground.settings(slot, session_seconds=1.5)) as other:
                moved(session, other)
                other.do("close")
            next_assigned(session)
        again = next_records(session, 20)
        assert session.commit(again, copies(ground, again))
    assert ground.counted() == dict.fromkeys(range(20), 1)


def test_a_note_stays_where_a_session_is_closed_while_something_is_tried(ground: Ground) -> None:
    """A worker that ends by an exception of its decision closes in good order, and yet something killed it."""
    ground.feed(range(20))
    with opened(ground) as session:
        tried = next_records(session, 20)
        assert session.mark(tried, "tried here", otherwise="nobody died")
    with opened(ground) as session:
        assert {one.note for one in next_assigned(session)} == {"tried here"}


def test_what_is_paused_stays_paused_when_the_group_moves(ground: Ground) -> None:
    ground.feed(range(4))
    with opened(ground) as session:
        held = Partition(ground.input, 0)
        session.pause([held])
        with Actor(ground.settings("b")) as other:
            next_assigned(session)
            moved(session, other)
            other.do("close")
        assert len(next_assigned(session)) == 2
        seen = [record.partition.number for _ in range(4) for record in session.poll(0.3).records]
        assert seen == [1, 1]
        session.resume([held])
        assert [record.partition for record in next_records(session).records] == [held, held]
        session.pause()
        ground.feed(range(4, 8))
        assert session.poll(0.5).records == ()
        session.resume()
        assert next_records(session).records


def test_too_many_bytes_in_flight_hold_everything_back(ground: Ground) -> None:
    ground.feed(range(1000, 1040))
    with opened(ground, in_flight_bytes=50, poll_records=4) as session:
        first, second = next_records(session), next_records(session)
        assert (session.in_flight, session.held) == ((8, 64), True)
        assert session.poll(0.5).records == ()
        session.commit(first, copies(ground, first))
        third = next_records(session)
        for batch in (second, third):
            session.commit(batch, copies(ground, batch))
    assert sum(ground.counted().values()) == 12


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"bootstrap": "127.0.0.1:9"}, ExitCode.UNAVAILABLE, "KafkaTimeoutError"),
        ({"inputs": ["nowhere"]}, ExitCode.UNAVAILABLE, "there is no topic 'nowhere'"),
        ({"outputs": ["nowhere"]}, ExitCode.UNWRITABLE, "there is no topic 'nowhere'"),
        (
            {"inputs": ["nowhere"], "outputs": ["gone", "lost"]},
            ExitCode.UNWRITABLE,
            "there are no topics 'gone', 'lost', 'nowhere'",
        ),
    ],
)
def test_what_is_not_there_at_the_start_is_said(
    ground: Ground, changes: dict[str, Any], code: ExitCode, says: str
) -> None:
    with Actor(ground.settings(request_seconds=3.0, **changes)) as actor:
        assert says in actor.opened["error"]
        assert actor.opened["exit_code"] == actor.ended() == code


@pytest.mark.needs_own_kafka
def test_brokers_that_go_away_while_they_are_asked_for_a_topic_are_no_missing_topic(
    ground: Ground, proxy: FaultProxy
) -> None:
    proxy.on_answer(kinds.METADATA, lambda: proxy.on_request(kinds.METADATA, proxy.refuse))
    with Actor(ground.settings(bootstrap=proxy.address, request_seconds=3.0)) as actor:
        assert len(proxy.sprung) == 2
        assert actor.opened["exit_code"] == actor.ended() == ExitCode.UNAVAILABLE


def test_where_a_new_group_starts_is_the_operators_choice(ground: Ground) -> None:
    ground.feed(range(10))
    with Actor(ground.settings(start="stop", session_seconds=1.5)) as actor:
        answer = actor.poll_until("error")
        assert "start is stop" in answer["error"]
        assert answer["exit_code"] == ExitCode.UNREADABLE
    with opened(ground, start="latest") as session:
        assert {position.offset for position in next_assigned(session)} == {5}
    ground.feed(range(10, 12))
    with opened(ground, start="latest") as session:  # the start was kept: what came meanwhile is not passed over
        assert {position.offset for position in next_assigned(session)} == {5}
        assert len(next_records(session, 2).records) == 2


def test_records_that_were_deleted_unread_stop_the_worker_or_are_counted(ground: Ground) -> None:
    ground.feed(range(20))
    with opened(ground) as session:
        batch, _ = next_records(session).split(1)
        session.commit(batch, copies(ground, batch))
    admin = KafkaAdminClient(bootstrap_servers=ground.address)
    admin.delete_records({TopicPartition(ground.input, number): 7 for number in range(2)})
    admin.close()
    with Actor(ground.settings(session_seconds=1.5)) as actor:
        answer = actor.poll_until("error")
        assert "were deleted before they were read, and gap is stop" in answer["error"]
        assert answer["exit_code"] == ExitCode.UNREADABLE
    with opened(ground, gap="skip") as session:
        positions = next_assigned(session)
        assert [position.offset for position in positions] == [7, 7]
        assert sorted(position.lost for position in positions) == [0, 6]  # of the other nothing was ever committed


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_topic_that_takes_less_at_once_than_is_sent_gets_it_in_parts(ground: Ground, delivery: str) -> None:
    """The client cuts what the broker finds too large, and says nothing more of the batch that it cut."""
    narrow = Ground.made(ground.address, 1, **{"max.message.bytes": "20000"})
    with opened(ground, delivery=delivery, outputs=[narrow.input], commit_seconds=5.0) as session:
        ground.feed([0])
        batch = next_records(session)
        outputs = [Output(narrow.input, random.Random(number).randbytes(200), b"%d" % number) for number in range(500)]
        assert session.commit(batch, outputs)

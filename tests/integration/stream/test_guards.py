"""The seven guards around kafka-python, each on a real broker: every test here fails when its guard is taken out of the session."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from kafka import KafkaProducer

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Membership, Output
from moderation.stream.client import make_consumer, make_producer, publish
from moderation.stream.faults import fatal
from tests.integration.stream.test_session import copies, moved, next_records, opened
from tests.services import proxy as kinds
from tests.services.proxy import FaultProxy
from tests.stream.actor import Actor
from tests.stream.ground import Ground

pytestmark = pytest.mark.needs_own_kafka

# Where a test waits for the end of them; what must be done before, opening a session and all requests of a commit but one, takes seconds on a busy machine.
SHORT = {"request_seconds": 5.0, "commit_seconds": 6.0}


def finish(ground: Ground, count: int) -> Counter[int]:
    """What is in the output when a new worker in the same slot has done the rest."""
    with Actor(ground.settings()) as actor:
        actor.work(ground, count)
        actor.do("close")
    return ground.counted()


def once(count: int) -> Counter[int]:
    return Counter(range(count))


def test_d1_a_record_that_the_client_gave_up_never_leaves_a_committed_transaction_without_it(
    ground: Ground, proxy: FaultProxy
) -> None:
    ground.feed(range(20))
    with Actor(ground.settings(bootstrap=proxy.address, **SHORT)) as actor:
        batch = actor.poll_until("records")
        proxy.cut(kinds.PRODUCE)  # everything else of the transaction goes through
        answer = actor.do("commit", batch["batch"], ground.output)
        assert answer.get("exit_code") == ExitCode.RESTART
        assert sum(ground.committed().values()) == 0
    assert finish(ground, 20) == once(20)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_d1_a_record_that_its_topic_refuses_is_not_passed_over(ground: Ground, delivery: str) -> None:
    """Sending all and waiting for the end of it is not enough: the client has done with a record that was refused."""
    narrow = Ground.made(ground.address, 1, **{"max.message.bytes": "20000"})
    ground.feed(range(20))
    with opened(ground, delivery=delivery, outputs=[narrow.input]) as session:
        batch = next_records(session)
        values = [b"small", random.Random(0).randbytes(30_000), b"small"]
        with pytest.raises(StreamError, match="MessageSizeTooLarge") as found:
            session.commit(batch, [Output(narrow.input, value) for value in values])
    assert found.value.exit_code == ExitCode.UNWRITABLE
    assert sum(ground.committed().values()) == 0


def refused_amid_others(topic: str) -> Iterator[Output]:
    """A record that goes out at once, being too much for a batch, and others that follow, for as long as they are taken."""
    yield Output(topic, bytes(200_000), b"key")
    for _ in range(20_000):
        time.sleep(0.0002)  # some come amid what the client asks the brokers for, once it is refused
        yield Output(topic, b"0", b"key")


@pytest.mark.parametrize("begun", [False, True], ids=["before the first record", "after the first record"])
def test_d1_who_is_fenced_while_it_hands_records_over_is_told_so(ground: Ground, begun: bool) -> None:
    """Or it would start again, and fence out the worker that took its place, which would do the same."""
    settings = StreamSettings.model_validate_json(ground.settings_json())
    producer, successor = make_producer(settings), make_producer(settings)
    producer.init_transactions()
    producer.begin_transaction()

    def outputs() -> Iterator[Output]:
        if begun:
            yield Output(ground.output, b"0", b"key")
            producer.flush()
        successor.init_transactions()
        yield from refused_amid_others(ground.output)

    with pytest.raises(StreamError, match=r"Fenced|InvalidProducerEpoch") as found, fatal("commit"):
        publish(producer, outputs(), seconds=10)
    assert found.value.exit_code == ExitCode.FENCED
    producer.close(timeout=10)
    successor.close()


def test_d1_what_its_topic_refuses_while_others_are_handed_over_is_told_so(ground: Ground) -> None:
    """Or the worker would be started again without end, for what calls a person."""
    narrow = Ground.made(ground.address, 1, **{"max.message.bytes": "20000"})
    producer = make_producer(StreamSettings.model_validate_json(ground.settings_json(compression="none")))
    producer.init_transactions()
    producer.begin_transaction()
    with pytest.raises(StreamError, match="MessageSizeTooLarge") as found, fatal("commit"):
        publish(producer, refused_amid_others(narrow.input), seconds=20)
    assert found.value.exit_code == ExitCode.UNWRITABLE
    producer.close(timeout=10)


def test_d2_no_transactional_call_is_waited_for_beyond_its_deadline(ground: Ground, proxy: FaultProxy) -> None:
    ground.feed(range(20))
    with Actor(ground.settings(bootstrap=proxy.address, **SHORT)) as actor:
        batch = actor.poll_until("records")
        proxy.refuse(1.5)
        time.sleep(
            0.1
        )  # the client has seen it: the request that adds offsets will be dropped, and its call wait for ever
        answer = actor.do("mark", batch["batch"], "note", within=15)
        assert answer.get("exit_code") == ExitCode.STALLED
    assert finish(ground, 20) == once(20)


def test_d2_a_commit_whose_answer_never_comes_has_an_unknown_outcome_and_is_not_made_again(
    ground: Ground, proxy: FaultProxy
) -> None:
    ground.feed(range(20))
    with Actor(ground.settings(bootstrap=proxy.address, **SHORT)) as actor:
        batch = actor.poll_until("records")
        proxy.on_answer(kinds.END_TRANSACTION, proxy.stall)
        answer = actor.do("commit", batch["batch"], ground.output, within=15)
        assert answer.get("exit_code") in (ExitCode.RESTART, ExitCode.STALLED)
        assert proxy.sprung
    assert sum(ground.committed().values()) == 20
    assert finish(ground, 20) == once(20)


def test_d3_after_a_failure_the_client_is_never_used_again(ground: Ground, proxy: FaultProxy) -> None:
    ground.feed(range(20))
    with Actor(ground.settings(bootstrap=proxy.address, **SHORT)) as actor:
        batch = actor.poll_until("records")
        proxy.on_request(kinds.PRODUCE, proxy.refuse)
        failed = actor.do("commit", batch["batch"], ground.output)
        proxy.accept()
        for what in (("poll", 0.5), ("commit", batch["batch"], ground.output), ("mark", batch["batch"], "again")):
            answer = actor.do(*what, within=5)
            assert "the session has ended: commit at" in answer["error"]
            assert answer["exit_code"] == failed["exit_code"]
    assert finish(ground, 20) == once(20)


def test_d4_a_generation_that_was_missed_is_read_from_the_committed_offsets(ground: Ground, proxy: FaultProxy) -> None:
    ground.feed(range(20))
    with Actor(ground.settings("a", bootstrap=proxy.address)) as actor:
        actor.work(ground, 20)
        with Actor(ground.settings("b")) as other:
            proxy.on_answer(kinds.SYNC_GROUP, proxy.drop)
            while not proxy.sprung:
                other.tell("poll", 0.5)
                actor.do("poll", 0.5)
                other.answer()
            ground.feed(range(20, 60))
            taken = other.poll_until("records")
            assert other.do("commit", taken["batch"], ground.output) == {"done": True}
            other.do("close")
        actor.work(ground, 60)
    assert ground.counted() == once(60)


def test_d4_a_member_is_one_only_once_its_assignment_is_there(ground: Ground, proxy: FaultProxy) -> None:
    ground.feed(range(20))
    with Actor(ground.settings("a")) as leader, Actor(ground.settings("b", bootstrap=proxy.address)) as actor:
        leader.work(ground, 20)
        ground.feed(range(20, 40))
        proxy.on_answer(kinds.SYNC_GROUP, proxy.stall)  # the client knows its generation, but not what it is assigned
        while not proxy.sprung:
            leader.tell("poll", 0.5)
            actor.do("poll", 0.5)
            leader.answer()
        actor.tell("poll", 1)
        time.sleep(0.3)
        proxy.flow()
        actor.answer()
        actor.work(ground, 30)
        leader.work(ground, 40)
    assert ground.counted() == once(40)


def test_d5_a_batch_that_cannot_be_read_ends_the_session_and_says_where(ground: Ground, proxy: FaultProxy) -> None:
    producer = KafkaProducer(bootstrap_servers=ground.address)
    for value in (b"good", b"hidden"):
        producer.send(ground.input, value, partition=0).get(10)
    producer.close()
    proxy.spoil(b"hidden")
    with Actor(ground.settings(bootstrap=proxy.address)) as actor:
        answer = actor.poll_until("error")
        assert answer["exit_code"] == ExitCode.UNREADABLE
        assert f"{ground.input}-0:1" in answer["error"]
        assert "hidden" not in answer["error"]
        assert "has ended" in actor.do("poll", 1, within=10)["error"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_d5_every_codec_of_a_foreign_producer_is_read(ground: Ground, codec: str) -> None:
    ground.feed(range(200), compression_type=codec, linger_ms=50)
    assert finish(ground, 200) == once(200)


@pytest.mark.parametrize("seconds", [0.0, 1.5], ids=["at once", "when it has noticed"])
def test_d6_a_worker_that_slept_while_its_partitions_moved_commits_nothing(ground: Ground, seconds: float) -> None:
    ground.feed(range(20))
    with Actor(ground.settings("a", session_seconds=1.5)) as asleep, Actor(ground.settings("b")) as other:
        batch = asleep.poll_until("records")
        asleep.send(signal.SIGSTOP)
        other.work(ground, 20)
        asleep.send(signal.SIGCONT)
        time.sleep(seconds)
        answer = asleep.do("commit", batch["batch"], ground.output)
        assert answer == {"done": False} or answer["exit_code"] == ExitCode.RESTART
    assert ground.counted() == once(20)


def test_d6_a_worker_that_was_dropped_for_silence_commits_nothing_and_goes_on(ground: Ground) -> None:
    ground.feed(range(20))
    with Actor(ground.settings(poll_interval_seconds=3.5, commit_seconds=3.0)) as actor:
        batch = actor.poll_until("records")
        time.sleep(4.5)
        assert actor.do("commit", batch["batch"], ground.output) == {"done": False}
        actor.work(ground, 20)
    assert ground.counted() == once(20)


def test_d6_the_broker_is_told_who_polled_a_batch_not_who_commits_it(ground: Ground) -> None:
    """The check before it is taken away: a batch of a generation that is over, in the hands of a member of the next one."""
    ground.feed(range(20))
    with opened(ground) as session, Actor(ground.settings("b")) as other:
        batch = next_records(session)
        moved(session, other)
        ends = {one.partition: one.offset + 1 for one in batch.records}
        send = partial(session._send, "commit", tuple(copies(ground, batch)), ends, "", batch.membership)
        with pytest.raises(StreamError, match="Generation"):
            session._call("commit", 10.0, send)
    assert ground.counted() == once(0)


@pytest.mark.parametrize("who", [Membership("group", -1, "member", None), Membership("group", 1, "", None)])
def test_d6_what_is_polled_by_a_nobody_is_handed_to_nobody(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, who: Membership
) -> None:
    """The broker takes a commit of a generation below 0 without any check."""
    ground.feed(range(20))
    with opened(ground) as session:
        batch = next_records(session)
        monkeypatch.setattr(session, "_current", lambda: who)
        ground.feed(range(20, 30))
        for _ in range(4):
            polled = session.poll(0.5)
            assert (polled.records, polled.assigned or ()) == ((), ())
        assert session.in_flight == (0, 0)
        assert session.commit(batch, copies(ground, batch)) is False
    assert ground.counted() == once(0)


def test_d7_a_client_is_back_soon_after_its_broker(ground: Ground) -> None:
    """The client's own 30 s decide how long a restart is felt."""
    settings = StreamSettings.model_validate_json(ground.settings_json())
    consumer, producer = make_consumer(settings), make_producer(settings)
    assert consumer.config["reconnect_backoff_max_ms"] == producer.config["reconnect_backoff_max_ms"] == 1000
    assert consumer.config["isolation_level"] == "read_committed"
    consumer.close()
    producer.close()


def test_d7_short_polls_far_apart_still_finish_a_join(ground: Ground) -> None:
    with (
        Actor(ground.settings("a")) as first,
        Actor(ground.settings("b")) as second,
        Actor(ground.settings("c")) as third,
    ):
        actors = (first, second, third)
        generations: list[int] = []
        end = time.monotonic() + 180
        while generations[-9:] != [generations[-1]] * 9 if generations else True:
            assert time.monotonic() < end, generations
            for actor in actors:
                actor.tell("poll", 0)
            generations += [actor.answer()["generation"] for actor in actors]
            time.sleep(0.3)
        assert 0 < generations[-1] <= 6

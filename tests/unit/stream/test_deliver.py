"""The loop of a deliverer over a topic in memory and a sink that does as it is told. The broker's part is tested on a real one."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.breaker import Breaker, State
from moderation.decision import Again, Delivered, Delivery, Gone, Receipt, Refused
from moderation.errors import ExitCode, StreamError
from moderation.sections import RunnerSettings
from moderation.sink.runner import SinkRunner
from moderation.stream.batch import Batch, Membership, Output, Partition, Position, Record
from moderation.stream.dead_letter import DeadLetter, Stage, set_aside
from moderation.stream.deliver import AHEAD, Deliverer
from moderation.stream.deliver_lane import Lane, Pauses
from moderation.stream.deliver_metrics import DeliverMetrics
from moderation.stream.deliver_record import Letters, read_entry
from moderation.stream.liveness import Progress
from moderation.stream.metrics import Metrics

QUICK = Pauses(0.001, 0.004, random.Random(1))


class Killed(BaseException):
    """What a process dies of."""


class Topic:
    """Decisions by partition, what is committed of them, and the dead letters; as a session it begins at what is committed.

    With `moves`, that many commits are void: the group has moved on.
    """

    def __init__(self, *partitions: Sequence[bytes], stop: threading.Event, at_once: int = 20, moves: int = 0) -> None:
        self.values = {Partition("decisions", number): values for number, values in enumerate(partitions)}
        self.committed = dict.fromkeys(self.values, 0)
        self.letters: list[DeadLetter] = []
        self.furthest = Counter[Partition]()
        self.commits = 0
        self._stop, self._at_once, self._moves = stop, at_once, moves
        self._generation, self._assigned = 0, False
        self._paused: set[Partition] = set()

    def poll(self, _seconds: float) -> Batch:
        time.sleep(0.0002)
        if not self._assigned:
            self.begin()
            self._assigned = True
            return Batch(self._us, assigned=tuple(Position(one, self.committed[one]) for one in self.values))
        found: list[Record] = []
        for one, values in self.values.items():
            at = self._next[one]
            if one not in self._paused:
                found += [record(one, at + n, value) for n, value in enumerate(values[at : at + self._at_once])]
                self._next[one] = min(len(values), at + self._at_once)
            self.furthest[one] = max(self.furthest[one], self._next[one] - self.committed[one])
        return Batch(self._us, tuple(found))

    def begin(self) -> None:
        """A new assignment, here or in the process that follows."""
        self._generation += 1
        self._us = Membership("group", self._generation, "member", None)
        self._next, self._assigned, self._paused = dict(self.committed), False, set()

    def commit(self, batch: Batch, outputs: Sequence[Output]) -> bool:
        assert batch.membership == self._us
        if self._moves:
            self._moves -= 1
            self.begin()
            return False
        self.commits += 1
        for one in batch.records:
            assert one.offset == self.committed[one.partition], "an offset was skipped, or came twice"
            self.committed[one.partition] += 1
        self.letters += [letter for one in outputs if (letter := set_aside(one))]
        if all(self.committed[one] == len(values) for one, values in self.values.items()):
            self._stop.set()
        return True

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        self._paused |= set(self.values if partitions is None else partitions)

    def resume(self, partitions: Collection[Partition] | None = None) -> None:
        self._paused -= set(self.values if partitions is None else partitions)


class Receiver:
    """A sink. `says` gives a receipt for one delivery; after one of a partition that is to be tried again, no later one of it is taken."""

    id = "receiver"

    def __init__(self, says: Callable[[Delivery], Receipt] = lambda _: Delivered()) -> None:
        self.says = says
        self.arrived: list[Delivery] = []
        self.calls: list[int] = []

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        self.calls.append(len(deliveries))
        held: set[str] = set()
        return [self._one(one, held) for one in deliveries]

    def _one(self, delivery: Delivery, held: set[str]) -> Receipt:
        if delivery.partition in held:
            return Again("after_another", tried=False)
        receipt = self.says(delivery)
        if isinstance(receipt, Delivered):
            self.arrived.append(delivery)
        elif not isinstance(receipt, Refused):
            held.add(delivery.partition)
        return receipt

    def first(self, partition: int) -> list[str]:
        """The ids of a partition in the order of their first arrival."""
        return list(dict.fromkeys(one.id for one in self.arrived if one.partition == f"decisions-{partition}"))


def record(partition: Partition, offset: int, value: bytes | None) -> Record:
    return Record(partition, offset, 1000 + offset, b"key", value, (("content-type", b"application/json"),), 50)


def decisions(partition: int, count: int, action: str = "remove") -> list[bytes]:
    return [json.dumps({"decision_id": f"{partition}-{n}", "action": action}).encode() for n in range(count)]


def ids(partition: int, numbers: Iterable[int]) -> list[str]:
    return [f"{partition}-{n}" for n in numbers]


def deliverer(
    topic: Topic, sink: Any, stop: threading.Event, *, actions: Collection[str] | None = None, most: int = 8, tries: int = 3,
    runner: RunnerSettings | None = None, breaker: Breaker | None = None, progress: Progress | None = None, metrics: Metrics | None = None,
) -> Deliverer:  # fmt: skip
    return Deliverer(
        topic,
        SinkRunner(sink, runner or RunnerSettings(timeout_seconds=5.0, quarantine_seconds=0.01)),
        letters=Letters("decisions.dlq", by="a", largest=1_000_000),
        lane=lambda: Lane(tries, QUICK),
        breaker=breaker or Breaker(first_delay=0.001, last_delay=0.01, chance=random.Random(2)),
        progress=progress or Progress(),
        metrics=DeliverMetrics(metrics or Metrics()),
        actions=actions,
        most=most,
        stop=stop,
    )


def delivered(sink: Any, *partitions: Sequence[bytes], moves: int = 0, within: float = 20.0, **more: Any) -> Topic:
    """Everything delivered: the topic afterwards."""
    stop = threading.Event()
    topic = Topic(*partitions, stop=stop, moves=moves)
    run(deliverer(topic, sink, stop, **more), within)
    assert topic.committed == {one: len(values) for one, values in topic.values.items()}
    return topic


def run(made: Deliverer, within: float = 20.0) -> None:
    late = threading.Timer(within, made._stop.set)
    late.start()
    try:
        made.run()
    finally:
        late.cancel()


def fails_until(
    counts: Mapping[str, int], otherwise: Callable[[Delivery], Receipt] = lambda _: Delivered()
) -> Callable[[Delivery], Receipt]:
    """Each of these is to be tried again so many times."""
    left = Counter(counts)

    def says(delivery: Delivery) -> Receipt:
        if left[delivery.id] > 0:
            left[delivery.id] -= 1
            return Again("status_503")
        return otherwise(delivery)

    return says


def test_everything_arrives_once_in_order_in_calls_that_grow() -> None:
    sink = Receiver()
    topic = delivered(sink, decisions(0, 100), decisions(1, 50))
    assert Counter(one.id for one in sink.arrived) == Counter(ids(0, range(100)) + ids(1, range(50)))
    assert (sink.first(0), sink.first(1)) == (ids(0, range(100)), ids(1, range(50)))
    assert sink.calls[:4] == [1, 2, 4, 8]
    assert max(sink.calls) == 8
    assert topic.letters == []
    (one, *_) = sink.arrived
    assert (one.id, one.decision["action"], one.partition, one.time_ms) == ("0-0", "remove", "decisions-0", 1000)
    assert "remove" not in repr(one)


def test_only_chosen_actions_are_sent_and_the_others_are_committed_too() -> None:
    values = [
        json.dumps({"decision_id": str(n), "action": ("allow", "review", "remove")[n % 3]}).encode() for n in range(60)
    ]
    sink = Receiver()
    delivered(sink, values, actions=("review", "remove"))
    assert [int(one.id) for one in sink.arrived] == [n for n in range(60) if n % 3]


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"7", b'{"action": "remove"}', b'{"decision_id": 7, "action": "remove"}', b'{"decision_id": "", "action": "a"}', b'{"decision_id": "a", "action": "b", "x": NaN}', b'{"decision_id": "a", "action": ["b"]}', b'{"decision_id": "a", "action": ""}', b"\xff"])  # fmt: skip
def test_what_is_no_decision_is_set_aside_as_it_came(value: bytes | None) -> None:
    sink = Receiver()
    topic = delivered(sink, [*decisions(0, 2), value, b'{"decision_id": "z", "action": "a"}'])  # type: ignore[list-item]
    assert sink.first(0) == ["0-0", "0-1", "z"]
    (letter,) = topic.letters
    assert (letter.stage, letter.cause, letter.offset, letter.attempts) == (Stage.DELIVER, "not_a_decision", 2, 1)


def test_what_is_refused_for_good_is_set_aside_and_holds_nobody_up() -> None:
    sink = Receiver(lambda one: Refused("status_422") if one.id.endswith("7") else Delivered())
    topic = delivered(sink, decisions(0, 40))
    assert sink.first(0) == ids(0, (n for n in range(40) if n % 10 != 7))
    assert [(one.offset, one.cause, one.worker) for one in topic.letters] == [
        (n, "status_422", "a") for n in (7, 17, 27, 37)
    ]


def test_what_cannot_be_taken_now_holds_back_its_own_partition_in_order() -> None:
    sink = Receiver(fails_until({"0-5": 2, "0-6": 1, "1-20": 2}))
    topic = delivered(sink, decisions(0, 30), decisions(1, 30), decisions(2, 30), tries=9)
    assert [sink.first(n) for n in range(3)] == [ids(n, range(30)) for n in range(3)]
    assert topic.letters == []


@pytest.mark.parametrize("tries", [2, 1000])
def test_a_sink_that_is_away_costs_no_decision_and_its_breaker_spares_it(tries: int) -> None:
    end = time.monotonic() + 0.5
    sink = Receiver(lambda _: Delivered() if time.monotonic() > end else Again("unreachable"))
    breaker = Breaker(first_delay=0.05, last_delay=0.1, chance=random.Random(3))
    topic = delivered(sink, *(decisions(n, 30) for n in range(5)), tries=tries, breaker=breaker)
    assert topic.letters == []
    for number in range(5):
        assert set(sink.first(number)) == set(ids(number, range(30)))
        # With few tries one may come before its time: where the sink comes back between the first one's turn and that of the next in its place.
        assert tries == 2 or sink.first(number) == ids(number, range(30))
    assert sum(one == 1 for one in sink.calls) < 40  # some ten while it was away, and the next one in line beside each
    assert breaker.state is State.CLOSED


def test_what_fails_while_others_get_through_is_given_up_after_its_tries() -> None:
    sink = Receiver(lambda one: Again("status_500") if one.id == "0-3" else Delivered())
    topic = delivered(sink, decisions(0, 10), decisions(1, 400), tries=3)
    (letter,) = topic.letters
    assert (letter.offset, letter.cause) == (3, "status_500")
    assert letter.attempts in {3, 4}  # of its first try nobody knows whether others got through since
    assert "others got through" in letter.message
    assert sink.first(0) == ids(0, (n for n in range(10) if n != 3))


def test_where_all_wait_behind_it_the_next_one_tells_whose_fault_it_is() -> None:
    sink = Receiver(lambda one: Again("status_500") if one.id == "0-3" else Delivered())
    topic = delivered(sink, decisions(0, 10), tries=3)
    (letter,) = topic.letters
    assert (letter.offset, letter.cause, letter.attempts) == (3, "status_500", 4)
    assert "the next one got through in its place" in letter.message
    assert sink.first(0) == ids(0, (n for n in range(10) if n != 3))


def test_whose_fault_it_is_is_told_however_many_lie_between_that_nobody_sends() -> None:
    """A stand-in is read for: what is passed over fills no partition up."""
    passed_over = [json.dumps({"decision_id": f"a-{n}", "action": "allow"}).encode() for n in range(40 * AHEAD)]
    sink = Receiver(lambda one: Again("status_500") if one.id == "0-0" else Delivered())
    values = decisions(0, 3)
    topic = delivered(sink, [values[0], *passed_over, *values[1:]], actions=["remove"], tries=2, within=5.0)
    assert [one.offset for one in topic.letters] == [0]
    assert sink.first(0) == ["0-1", "0-2"]


def test_who_gets_through_after_the_next_one_did_in_its_place_is_not_given_up() -> None:
    """The sink came back between the two: better late than set aside."""
    calls: list[str] = []

    def says(one: Delivery) -> Receipt:
        calls.append(one.id)
        return Again("status_503") if calls in (["0-0"], ["0-0", "0-0"]) else Delivered()

    sink = Receiver(says)
    topic = delivered(sink, decisions(0, 5), tries=2)
    assert calls[:4] == ["0-0", "0-0", "0-1", "0-0"]
    assert Counter(one.id for one in sink.arrived) == Counter(ids(0, range(5)))
    assert topic.letters == []


def test_the_last_one_waits_until_another_can_tell() -> None:
    stop = threading.Event()
    topic = Topic(decisions(0, 3), stop=stop)
    sink = Receiver(lambda one: Again("status_500") if one.id == "0-2" else Delivered())
    run(deliverer(topic, sink, stop, tries=2), within=1.5)
    assert list(topic.committed.values()) == [2]
    assert topic.letters == []
    topic.values[Partition("decisions", 0)] = decisions(0, 4)
    stop.clear()
    topic.begin()
    run(deliverer(topic, sink, stop, tries=2))
    assert [one.offset for one in topic.letters] == [2]
    assert sink.first(0) == ["0-0", "0-1", "0-3"]


def test_whose_fault_it_is_is_found_where_the_sink_takes_whole_batches_or_none() -> None:
    class Whole(Receiver):
        def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
            if any(one.id == "1-5" for one in deliveries):
                self.calls.append(len(deliveries))
                return [Again("status_500")] * len(deliveries)
            return super().deliver(deliveries, seconds)

    sink = Whole()
    topic = delivered(sink, decisions(0, 200), decisions(1, 20), tries=3)
    assert [(one.origin.number, one.offset) for one in topic.letters] == [(1, 5)]
    assert sink.first(0) == ids(0, range(200))


def test_after_a_call_of_which_nothing_got_through_one_decision_is_tried() -> None:
    class Flapping(Receiver):
        def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
            away = 20 <= len(self.calls) < 23
            self.calls.append(len(deliveries))
            return [Again("status_503")] * len(deliveries) if away else [Delivered()] * len(deliveries)

    sink = Flapping()
    delivered(sink, *(decisions(n, 60) for n in range(6)), tries=9)
    assert sink.calls[19:24] == [8, 8, 1, 1, 1]


def test_as_long_as_the_sink_asks_for_nothing_is_sent() -> None:
    times: list[float] = []

    def says(_: Delivery) -> Receipt:
        times.append(time.monotonic())
        return Again("status_429", seconds=0.3) if len(times) == 1 else Delivered()

    delivered(Receiver(says), decisions(0, 5), decisions(1, 5))
    assert times[1] - times[0] >= 0.3


@pytest.mark.parametrize("busy", [True, False])
def test_who_is_busy_most_of_the_time_costs_no_decision(busy: bool) -> None:
    """Four answers of five say so, of whichever decision; what fails as often for other reasons is set aside now and then."""
    chance = random.Random(7)
    sink = Receiver(lambda _: Again("status_429", busy=busy) if chance.random() < 0.8 else Delivered())
    topic = delivered(sink, *(decisions(n, 60) for n in range(4)), within=60.0)
    if busy:
        assert topic.letters == []
        assert [sink.first(number) for number in range(4)] == [ids(number, range(60)) for number in range(4)]
    else:
        assert topic.letters  # or this test would not tell the two apart


def lane_of(count: int) -> Lane:
    """A lane of so many decisions, which is given up on after three tries."""
    lane = Lane(3, Pauses(1.0, 60.0, chance=random.Random(0)))
    for offset, value in enumerate(decisions(0, count)):
        lane.add(read_entry(record(Partition("decisions", 0), offset, value), None))
    return lane


def test_what_is_refused_after_it_failed_tells_how_often_it_was_sent() -> None:
    lane = lane_of(2)
    for sent, says in enumerate([Again("status_500"), Again("status_500"), Refused("status_422")], start=1):
        lane.told(lane.next(1, lane.not_before), [says], through=0, now=0.0)
        assert lane.suspect == (sent < 3)
    (entry,) = lane.settled()
    assert entry.ending is not None
    assert (entry.ending.cause, entry.ending.attempts) == ("status_422", 3)


@pytest.mark.parametrize(
    ("count", "says", "through", "lonely"),
    [
        (1, None, 0, False),
        (1, Again("status_500"), 0, True),
        (2, Again("status_500"), 0, False),  # the one behind it can tell
        (1, Again("status_500"), 1, False),  # another partition's can
        (1, Again("status_429", busy=True), 0, False),
    ],
)
def test_a_lane_is_lonely_where_its_first_one_fails_and_nobody_can_tell_whose_fault_it_is(
    count: int, says: Again | None, through: int, lonely: bool
) -> None:
    lane = lane_of(count)
    if says:
        lane.told(lane.next(1, 0.0), [says], through=through, now=0.0)
    assert lane.lonely == lonely


def test_a_sink_that_is_busy_is_asked_less_and_less() -> None:
    lane = lane_of(1)
    waits = []
    for _ in range(6):
        lane.told(lane.next(1, lane.not_before), [Again("status_429", busy=True)], through=0, now=0.0)
        waits.append(lane.not_before)
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits))
    assert not lane.suspect


def test_a_sink_that_is_gone_ends_the_process_for_a_person_after_what_it_took_is_committed() -> None:
    stop = threading.Event()
    topic = Topic(decisions(0, 20), stop=stop)
    sink = Receiver(lambda one: Gone("status_410") if one.id == "0-10" else Delivered())
    with pytest.raises(StreamError, match="'receiver' takes no decision any more: status_410") as caught:
        run(deliverer(topic, sink, stop))
    assert caught.value.exit_code == ExitCode.UNWRITABLE
    assert list(topic.committed.values()) == [10]


@pytest.mark.parametrize("fault", [SystemExit(1), ValueError("zebra"), None, "rubbish", [], [7] * 8])
def test_a_sink_that_raises_or_answers_rubbish_is_tried_again_and_nothing_is_lost(fault: Any) -> None:
    left = [fault] * 7

    class Faulty(Receiver):
        def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
            if left and len(self.arrived) > 4:
                one = left.pop()
                if isinstance(one, BaseException):
                    raise one
                return one
            return super().deliver(deliveries, seconds)

    metrics = Metrics()
    sink = Faulty()
    topic = delivered(sink, decisions(0, 20), metrics=metrics, tries=50)
    assert topic.letters == []
    assert sink.first(0) == ids(0, range(20))
    assert metrics.registry.get_sample_value("moderation_deliveries_total", {"outcome": "delivered"}) == 20


def test_a_sink_that_hangs_is_no_progress_and_one_that_says_no_is() -> None:
    release = threading.Event()
    seen: list[float] = []

    class Hanging(Receiver):
        def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
            seen.append(seconds)
            release.wait(5)
            return super().deliver(deliveries, seconds)

    for sink, stalls in ((Hanging(), True), (Receiver(lambda _: Again("status_503")), False)):
        stop, progress = threading.Event(), Progress()
        made = deliverer(
            Topic(decisions(0, 5), stop=stop),
            sink,
            stop,
            progress=progress,
            runner=RunnerSettings(timeout_seconds=0.05),
        )
        run(made, within=0.8)
        assert (progress.seconds() > 0.6) is stalls
    release.set()
    assert 0 < seen[0] <= 0.05


def test_a_void_commit_sends_again_and_repeats_carry_their_ids() -> None:
    sink = Receiver()
    delivered(sink, decisions(0, 30), decisions(1, 30), moves=3)
    assert sink.first(0) == ids(0, range(30))
    assert sink.first(1) == ids(1, range(30))
    assert len(sink.arrived) > 60


def test_a_lane_that_waits_does_not_fill_the_memory_nor_hold_the_others() -> None:
    stop, other = threading.Event(), Partition("decisions", 1)

    class Half(Topic):
        def commit(self, batch: Batch, outputs: Sequence[Output]) -> bool:
            done = super().commit(batch, outputs)
            if self.committed[other] == 300:
                stop.set()
            return done

    topic = Half(decisions(0, 2000), decisions(1, 300), stop=stop)
    sink = Receiver(lambda one: Again("status_500") if one.id == "0-0" else Delivered())
    run(deliverer(topic, sink, stop, tries=10_000))
    assert topic.committed == {Partition("decisions", 0): 0, other: 300}
    assert topic.furthest[Partition("decisions", 0)] <= AHEAD * 8 + 20


def test_who_is_told_to_stop_finishes_the_call_under_way() -> None:
    stop = threading.Event()

    class Slow(Receiver):
        def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
            stop.set()
            time.sleep(0.2)
            return super().deliver(deliveries, seconds)

    topic, sink = Topic(decisions(0, 20), stop=threading.Event()), Slow()
    run(deliverer(topic, sink, stop))
    assert (len(sink.arrived), list(topic.committed.values())) == (1, [1])


def test_metrics_tell_every_decision_by_what_became_of_it() -> None:
    metrics = Metrics()
    says = fails_until({"0-1": 2}, lambda one: Refused("no") if one.id == "0-5" else Delivered())
    topic = delivered(
        Receiver(says), [*decisions(0, 10), *decisions(1, 4, "allow")], actions=["remove"], tries=9, metrics=metrics
    )

    def count(outcome: str) -> float | None:
        return metrics.registry.get_sample_value("moderation_deliveries_total", {"outcome": outcome})

    assert {one: count(one) for one in ("delivered", "refused", "again", "gone", "left_out")} == {
        "delivered": 9, "refused": 1, "again": 2, "gone": 0, "left_out": 4,
    }  # fmt: skip
    assert len(topic.letters) == 1


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(0, 25), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    most=st.integers(1, 12),
    deaths=st.integers(0, 4),
)
def test_whatever_fails_or_dies_nothing_is_lost_and_first_arrivals_keep_their_order(
    counts: list[int], seed: int, most: int, deaths: int
) -> None:
    """Receipts at random, outages, void commits, and processes that die in the middle of a call, after what was sent in it."""
    chance = random.Random(seed)
    refused = {f"{n}-{k}" for n, count in enumerate(counts) for k in range(count) if chance.random() < 0.1}
    left = deaths

    def says(one: Delivery) -> Receipt:
        nonlocal left
        if left and chance.random() < 0.05:
            left -= 1
            raise Killed
        if chance.random() < 0.2:
            return Again("status_503")
        return Refused("status_400") if one.id in refused else Delivered()

    stop = threading.Event()
    topic = Topic(*(decisions(n, count) for n, count in enumerate(counts)), stop=stop, moves=chance.randrange(3))
    if not any(counts):
        return
    sink = Receiver(says)
    while not stop.is_set():
        made = deliverer(topic, sink, stop, most=most, tries=1000)
        made._sink.deliver = lambda deliveries: tuple(sink.deliver(deliveries, 1.0))  # type: ignore[method-assign]
        try:
            run(made)
        except Killed:
            topic.begin()
    for number, count in enumerate(counts):
        wanted = [one for one in ids(number, range(count)) if one not in refused]
        assert sink.first(number) == wanted
    assert {f"{one.origin.number}-{one.offset}" for one in topic.letters} == refused
    assert len(topic.letters) == len(refused)

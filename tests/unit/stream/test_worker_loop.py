"""The worker's loop over a stream in memory: order, sizes of batches, and how far it reads ahead. The broker's part is tested on a real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from moderation.errors import StreamError
from moderation.stream.batch import Batch, Membership, Output, Partition, Position, Record
from moderation.stream.dead_letter import Stage
from moderation.stream.pace import FIRST, Pace
from moderation.stream.worker import Worker

PLACE = Partition("in", 0)
US = Membership("group", 1, "member", None)


class Stream:
    """A session over so many records, handed out `at_once` at a time; stops the worker when all are committed."""

    def __init__(self, count: int, at_once: int, stop: threading.Event) -> None:
        self.count, self.at_once, self.stop = count, at_once, stop
        self.next = 0
        self.committed: list[int] = []
        self.furthest_ahead = 0
        self.held = False
        self._begun = False

    def poll(self, _seconds: float) -> Batch:
        time.sleep(0.001)
        if not self._begun:
            self._begun = True
            return Batch(US, assigned=(Position(PLACE, 0),))
        taken = 0 if self.held else min(self.at_once, self.count - self.next)
        found = tuple(Record(PLACE, self.next + n, 0, None, b"x", (), 1) for n in range(taken))
        self.next += taken
        self.furthest_ahead = max(self.furthest_ahead, self.next - len(self.committed))
        return Batch(US, found)

    def commit(self, batch: Batch, outputs: Sequence[Output], *, note: str = "") -> bool:
        assert len(outputs) == len(batch.records)
        self.committed += [one.offset for one in batch.records]
        if len(self.committed) == self.count:
            self.stop.set()
        return True

    def mark(self, batch: Batch, note: str, *, otherwise: str) -> bool:
        return True

    def pause(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False


class Slow:
    """Decides every record in the same time, and remembers how many came together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sizes: list[int] = []

    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        self.sizes.append(len(records))
        time.sleep(self.seconds * len(records))
        return [(Output("out", b"decided"),) for _ in records]

    def set_aside(self, record: Record, stage: Stage, cause: str, message: str, *, attempts: int) -> Output:
        raise AssertionError(f"{record} at {stage}: {cause}, {message}, {attempts}")


def test_records_are_decided_in_batches_that_take_what_they_may_and_committed_in_order() -> None:
    stop = threading.Event()
    stream, decider = Stream(3000, 500, stop), Slow(0.0005)
    Worker(stream, decider, name="w", window=2000, pace=Pace(0.05, 500), stop=stop).run()
    assert stream.committed == list(range(3000))
    assert decider.sizes[0] <= FIRST
    usual = sorted(decider.sizes)[len(decider.sizes) // 2]
    assert 20 <= usual <= 100  # 100 records take 0.05 s, and a loaded machine sleeps longer


def test_it_reads_no_further_ahead_than_its_window() -> None:
    stop = threading.Event()
    stream = Stream(6000, 250, stop)
    Worker(stream, Slow(0.00005), name="w", window=1000, pace=Pace(0.01, 250), stop=stop).run()
    assert stream.committed == list(range(6000))
    assert stream.furthest_ahead <= 1000 + 2 * 250


class Narrow(Stream):
    """Holds everything by itself while anything is in flight, as a session does whose bytes in flight are many; `vain` counts polls meanwhile."""

    vain = 0

    @property
    def held(self) -> bool:  # type: ignore[override]
        return self.next > len(self.committed)

    @held.setter
    def held(self, _: bool) -> None:
        pass

    def poll(self, seconds: float) -> Batch:
        self.vain += self.held
        return super().poll(seconds)


def test_polls_that_can_bring_nothing_are_rare_whoever_holds() -> None:
    stop = threading.Event()
    stream = Narrow(50 * FIRST, FIRST, stop)
    Worker(stream, Slow(0.0005), name="w", window=100 * FIRST, pace=Pace(1.0, FIRST), stop=stop).run()
    assert stream.committed == list(range(50 * FIRST))
    assert stream.vain < 25


class Meeting(Slow):
    """Decides a batch only once another is being decided, too; but for the first one, beside which nothing may be."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.together = threading.Barrier(2)

    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        if records[0].offset > 0:
            self.together.wait(timeout=20)
        return super().decide(records)


def test_two_batches_are_decided_at_a_time_and_committed_in_order() -> None:
    stop = threading.Event()
    stream = Stream(5 * FIRST, FIRST, stop)
    Worker(stream, Meeting(), name="w", window=4 * FIRST, pace=Pace(1.0, FIRST), stop=stop).run()
    assert stream.committed == list(range(5 * FIRST))


class Watched(Slow):
    """Remembers which batches were being decided at the same time."""

    def __init__(self, pause: float = 0.02) -> None:
        super().__init__(0.0)
        self.pause = pause
        self.now: set[int] = set()
        self.beside: dict[int, set[int]] = {}
        self.lock = threading.Lock()

    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        first = records[0].offset
        with self.lock:
            self.now.add(first)
            for one in self.now:
                self.beside[one] = self.beside.get(one, set()) | self.now - {one}
        time.sleep(self.pause)
        with self.lock:
            self.now.remove(first)
        return super().decide(records)


def test_nothing_is_decided_beside_what_may_kill() -> None:
    """The first records after an assignment bear the note; a death while others are at work would be laid to them."""
    stop = threading.Event()
    stream, decider = Stream(12 * FIRST, FIRST, stop), Watched()
    Worker(stream, decider, name="w", window=4 * FIRST, pace=Pace(1.0, FIRST), stop=stop).run()
    assert decider.beside[0] == set()
    assert any(decider.beside.values())


class Moving(Stream):
    """Hands out everything, and assigns anew while the batches of the first assignment are being decided."""

    def __init__(self, count: int, at_once: int, stop: threading.Event, decider: Watched) -> None:
        super().__init__(count, at_once, stop)
        self._decider, self.marks, self.moved_at = decider, list[tuple[int, set[int]]](), 0

    def poll(self, seconds: float) -> Batch:
        if not self.moved_at and self.committed and len(self._decider.now) == 2:
            self.moved_at = self.next = len(self.committed)
            return Batch(US, assigned=(Position(PLACE, self.next),))
        return super().poll(seconds)

    def mark(self, batch: Batch, note: str, *, otherwise: str) -> bool:
        self.marks.append((batch.records[0].offset, set(self._decider.now)))
        return True


def test_nothing_is_noted_while_what_is_void_is_still_at_work() -> None:
    """It goes on after a new assignment, for a thread cannot be stopped: what it dies of is not the fault of what is tried then."""
    stop = threading.Event()
    decider = Watched(0.2)
    stream = Moving(12 * FIRST, FIRST, stop, decider)
    Worker(stream, decider, name="w", window=4 * FIRST, pace=Pace(1.0, FIRST), stop=stop).run()
    assert stream.moved_at
    assert [offset for offset, _ in stream.marks] == [0, 0, stream.moved_at, stream.moved_at]  # left, and taken back
    assert all(beside == set() for _, beside in stream.marks)
    assert stream.committed == list(range(12 * FIRST))


def test_who_raises_does_not_wait_for_what_is_at_work_and_begins_nothing_more() -> None:
    stop, hung = threading.Event(), threading.Event()
    began: list[int] = []

    class Hanging(Slow):
        def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
            began.append(records[0].offset)
            if records[0].offset > 0:
                hung.wait(60)
            return super().decide(records)

    class Fenced(Stream):
        def poll(self, seconds: float) -> Batch:
            if len(began) == 3:
                raise StreamError("fenced")
            return super().poll(seconds)

    with pytest.raises(StreamError, match="fenced"):
        Worker(
            Fenced(100 * FIRST, FIRST, stop),
            Hanging(0.0),
            name="w",
            window=50 * FIRST,
            pace=Pace(1.0, FIRST),
            stop=stop,
        ).run()
    assert not hung.is_set()
    hung.set()
    time.sleep(0.2)
    assert began == [0, FIRST, 2 * FIRST]

"""The worker's loop over a log in memory: whatever dies, moves away or is refused, every record is answered exactly once, in order."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import EncoderError, StreamError
from moderation.stream.batch import Batch, Membership, Output, Partition, Position, Record
from moderation.stream.caution import Caution
from moderation.stream.dead_letter import Stage
from moderation.stream.pace import Pace
from moderation.stream.worker import Worker

WINDOW = 40
TRIES = 3


class DiedError(BaseException):
    """The process ended, whatever it was doing."""


@dataclass
class Log:
    """What survives: records by partition, committed offsets with their notes, and everything published with them."""

    lengths: list[int]
    committed: dict[Partition, int] = field(default_factory=dict)
    notes: dict[Partition, str] = field(default_factory=dict)
    published: list[Output] = field(default_factory=list)

    @property
    def partitions(self) -> list[Partition]:
        return [Partition("in", number) for number in range(len(self.lengths))]


class LogSession:
    """One process's session on the log: assigns once, again where it is told to, and refuses commits where it is told to."""

    def __init__(
        self, log: Log, stop: threading.Event, moves: Sequence[int], refusals: Sequence[int], size: int
    ) -> None:
        self.log, self.stop, self.size = log, stop, size
        self.moves, self.refusals = set(moves), set(refusals)
        self.generation = self.polls = self.commits = 0
        self.next: dict[Partition, int] = {}
        self.marked: dict[Partition, str] = {}
        self.held = False

    def poll(self, seconds: float) -> Batch:
        self.polls += 1
        if self.polls == 1 or self.polls in self.moves:
            return self.assign()
        records: list[Record] = []
        if not self.held:
            for partition in self.log.partitions:
                start = self.next[partition]
                end = min(start + self.size, self.log.lengths[partition.number])
                records += [Record(partition, offset, 0, None, b"v", (), 1) for offset in range(start, end)]
                self.next[partition] = end
        if not records and self.done():
            self.stop.set()
        return Batch(self.membership, tuple(records))

    def assign(self) -> Batch:
        self.generation += 1
        self.log.notes |= self.marked  # what the session leaves when partitions are taken away from a live member
        self.marked = {}
        self.next = {one: self.log.committed.get(one, 0) for one in self.log.partitions}
        positions = [Position(one, at, self.log.notes.get(one, "")) for one, at in self.next.items()]
        return Batch(self.membership, assigned=tuple(positions))

    @property
    def membership(self) -> Membership:
        return Membership("g", self.generation, "m", None)

    def done(self) -> bool:
        return all(self.log.committed.get(one, 0) == self.log.lengths[one.number] for one in self.log.partitions)

    def mark(self, batch: Batch, note: str, *, otherwise: str) -> bool:
        if batch.membership != self.membership:
            return False
        first: dict[Partition, int] = {}
        for record in batch.records:
            first.setdefault(record.partition, record.offset)
        for partition, offset in first.items():
            assert self.log.committed.get(partition, 0) == offset, "a note beside a record that is not next"
            self.log.notes[partition] = note
            self.marked[partition] = otherwise
        return True

    def commit(self, batch: Batch, outputs: Sequence[Output], *, note: str = "") -> bool:
        self.commits += 1
        if self.commits in self.refusals:
            self.moves.add(self.polls + 1)  # the group moved on: a new assignment follows
            return False
        if batch.membership != self.membership:
            return False
        for record in batch.records:
            assert self.log.committed.get(record.partition, 0) == record.offset, "out of order"
            self.log.committed[record.partition] = record.offset + 1
            self.log.notes[record.partition] = note
        self.marked = {}
        self.log.published += outputs
        return True

    def pause(self) -> None:
        self.held = True

    def resume(self) -> None:
        self.held = False


class Answers:
    """Decides by naming the record; some records kill whoever tries them."""

    def __init__(self, killers: set[tuple[int, int]]) -> None:
        self.killers = killers

    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        if any((one.partition.number, one.offset) in self.killers for one in records):
            raise DiedError
        return [(Output("out", place(one).encode()),) for one in records]

    def set_aside(self, record: Record, stage: Stage, cause: str, message: str, *, attempts: int) -> Output:
        assert stage is Stage.CRASH
        return Output("dead", place(record).encode())


def place(record: Record) -> str:
    return f"{record.partition.number} {record.offset}"


@given(
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=3),
    killers=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 119)), max_size=4),
    size=st.integers(1, 20),
    moves=st.lists(st.integers(2, 40), max_size=4),
    refusals=st.lists(st.integers(1, 20), max_size=3),
)
def test_every_record_is_answered_once_and_in_order(
    lengths: list[int], killers: set[tuple[int, int]], size: int, moves: list[int], refusals: list[int]
) -> None:
    killers = {(number, offset) for number, offset in killers if number < len(lengths) and offset < lengths[number]}
    log = Log(lengths)
    for process in range(12 * len(killers) + 1):
        stop = threading.Event()
        session = LogSession(log, stop, moves, refusals, size)
        try:
            Worker(
                session,
                Answers(killers),
                name=f"worker {process}",
                window=WINDOW,
                pace=Pace(0.5, WINDOW),
                stop=stop,
                tries=TRIES,
            ).run()
        except DiedError:
            continue
        break
    answered = [(output.value or b"").decode() for output in log.published]
    assert sorted(answered) == sorted(f"{n} {offset}" for n, length in enumerate(lengths) for offset in range(length))
    for number in range(len(lengths)):
        offsets = [int(one.split()[1]) for one in answered if one.startswith(f"{number} ")]
        assert offsets == sorted(offsets)
    dead = {tuple(map(int, (one.value or b"").split())) for one in log.published if one.topic == "dead"}
    assert dead == killers


@given(st.integers(1, 9), st.integers(1, 60))
def test_members_that_only_lose_their_partitions_are_no_deaths(members: int, size: int) -> None:
    """Each is asked to give its partition away while its first batch is being tried, and lives on."""
    log = Log([60])
    for member in range(members):
        stop = threading.Event()
        session = LogSession(log, stop, [], [], size)

        class Moving(Answers):
            def decide(self, records: Sequence[Record], session: LogSession = session) -> list[tuple[Output, ...]]:
                session.moves.add(session.polls + 1)
                session.refusals.add(session.commits + 1)
                session.stop.set()
                return super().decide(records)

        Worker(
            session,
            Moving(set()),
            name=f"live {member}",
            window=WINDOW,
            pace=Pace(0.5, WINDOW),
            stop=stop,
            tries=TRIES,
        ).run()
        session.assign()  # the move, whether the loop was still there to see it or not
    stop = threading.Event()
    session = LogSession(log, stop, [], [], size)
    Worker(session, Answers(set()), name="last", window=WINDOW, pace=Pace(0.5, WINDOW), stop=stop, tries=TRIES).run()
    assert [one.topic for one in log.published] == ["out"] * 60


class Away(LogSession):
    """Notes go through and outputs do not, as where the brokers of a topic are away."""

    def commit(self, batch: Batch, outputs: Sequence[Output], *, note: str = "") -> bool:
        raise StreamError("nothing can be published")


class Broken(Answers):
    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        raise EncoderError("fails on everything")


@pytest.mark.parametrize(
    ("kind", "answers", "error"), [(Away, Answers, StreamError), (LogSession, Broken, EncoderError)]
)
@given(processes=st.integers(1, 12), size=st.integers(1, 20))
def test_processes_that_end_for_others_faults_are_no_deaths_of_records(
    kind: type[LogSession], answers: type[Answers], error: type[Exception], processes: int, size: int
) -> None:
    log = Log([60])

    def worker(name: str, session: LogSession, decider: Answers) -> Worker:
        pace = Pace(0.5, WINDOW)
        return Worker(session, decider, name=name, window=WINDOW, pace=pace, stop=session.stop, tries=TRIES)

    for process in range(processes):
        with pytest.raises(error):
            worker(f"{process}", kind(log, threading.Event(), [], [], size), answers(set())).run()
    worker("last", LogSession(log, threading.Event(), [], [], size), Answers(set())).run()
    assert [one.topic for one in log.published] == ["out"] * 60


class Holed(LogSession):
    """One partition whose records up to 12 are gone, `lost` of them known to be deleted by retention."""

    def __init__(self, log: Log, stop: threading.Event, lost: int) -> None:
        super().__init__(log, stop, [], [], 20)
        self.lost = lost

    def assign(self) -> Batch:
        super().assign()
        (partition,) = self.log.partitions
        self.next[partition] = self.log.committed[partition] = 12
        position = Position(partition, 5 + self.lost, self.log.notes[partition], self.lost)
        return Batch(self.membership, assigned=(position,))


@pytest.mark.parametrize("lost", [0, 7])
def test_the_death_of_a_record_that_is_gone_is_laid_to_no_other(lost: int) -> None:
    """Its note stands where retention deleted it, or where compaction left a hole."""
    log, stop = Log([30]), threading.Event()
    log.notes[Partition("in", 0)] = Caution(5, deaths=7, until=45, alone=TRIES).trying("dead")
    session = Holed(log, stop, lost)
    Worker(session, Answers(set()), name="new", window=WINDOW, pace=Pace(0.5, WINDOW), stop=stop, tries=TRIES).run()
    assert [one.topic for one in log.published] == ["out"] * (30 - 12)


def test_a_worker_that_is_stopped_finishes_what_it_decides_and_begins_nothing() -> None:
    log, stop = Log([100]), threading.Event()
    session = LogSession(log, stop, [], [], 10)

    class Slow(Answers):
        def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
            stop.set()
            return super().decide(records)

    Worker(session, Slow(set()), name="w", window=WINDOW, pace=Pace(0.5, WINDOW), stop=stop).run()
    assert session.held
    assert log.committed[Partition("in", 0)] == len(log.published) == 10
    assert log.notes[Partition("in", 0)] == ""

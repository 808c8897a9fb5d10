"""Dead letters back to the topics that they came from, each at most once, with what they went through in their headers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self

from moderation.errors import StreamError
from moderation.sections import REPLAY_SLOT, StreamSettings
from moderation.stream.batch import Output, Record
from moderation.stream.client import make_producer, publish
from moderation.stream.credentials import opening
from moderation.stream.dead_letter import Past, original, read_dead_letter
from moderation.stream.deadline import CallThread
from moderation.stream.faults import fatal
from moderation.stream.letters import Letter, Place, marker

AT_ONCE = 500  # records of one transaction, at most


class Obstacle(StrEnum):
    """Why a letter does not go back."""

    REPLAYED = "replayed already"
    TOO_OFTEN = "replayed too often before it came here again"
    POINTER = "too large to be kept: the record lies where it came from, if anywhere"
    FOREIGN = "from a topic that is no input of these settings"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which letters go back, in the order of their places, and what keeps the others."""

    letters: tuple[Letter, ...]
    obstacles: tuple[tuple[Letter, Obstacle], ...]


def plan(letters: Iterable[Letter], *, inputs: Collection[str], most_replays: int) -> Plan:
    """What a replay of these would do. A letter that failed again after `most_replays` replays stays: it goes round in a circle."""
    found = [(one, _obstacle(one, inputs, most_replays)) for one in letters]
    return Plan(
        tuple(one for one, obstacle in found if obstacle is None),
        tuple((one, obstacle) for one, obstacle in found if obstacle is not None),
    )


def replayed(record: Record, *, partitions: Callable[[str], int]) -> Output:
    """What goes back for a dead letter: the record's key, value and headers, and what it went through.

    To the partition that it came from, where its topic still has it (`partitions` says how many it has), else by its key. A record
    that had neither key nor value comes back with an empty value. Raises ValueError for a record that is no dead letter.
    """
    told = read_dead_letter(record)
    if told is None:
        raise ValueError(f"{record!r} is no dead letter")
    went_through = Past(told.attempts, told.replays + 1, told.first_failed_ms)
    here = told.origin.number if told.origin.number < partitions(told.origin.topic) else None
    headers = (*original(record), *went_through.headers())
    return Output(told.origin.topic, record.value, key=record.key, headers=headers, partition=here)


class Replay:
    """Writes records back, with a marker for each in the dead-letter topic: together, in transactions, where exactly_once is promised, else after it.

    Open it before the letters are looked for: where transactions are, it ends a replay that is under way in the same group, so that what is
    found then is so.
    Raises StreamError, after which nothing is known of the last `send`: whoever looks again finds what was replayed.
    """

    def __init__(self, settings: StreamSettings, *, topic: str) -> None:
        self._settings, self._topic = settings.model_copy(update={"slot": REPLAY_SLOT}), topic
        self._exactly_once = settings.delivery == "exactly_once"
        self._thread = CallThread("replay")
        self._thread.call("open", 3 * settings.request_seconds, self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, StreamError):  # after which the client is never used again
            self._thread.call("close", 2 * self._settings.request_seconds, self._close)
        self._thread.end()

    def send(self, records: Iterable[Record]) -> Iterator[int]:
        """Write these dead letters back; after each transaction, how many were written in it."""
        for some in self._portions(records):
            self._thread.call("replay", self._settings.commit_seconds + 1, partial(self._send, some))
            yield len(some)

    def _portions(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        some: list[Record] = []
        size = 0
        for record in records:
            if some and (len(some) == AT_ONCE or size + record.size > self._settings.in_flight_bytes):
                yield some
                some, size = [], 0
            some.append(record)
            size += record.size
        if some:
            yield some

    def _open(self) -> None:
        with opening("open", self._settings):
            self._producer = make_producer(self._settings)
            if self._exactly_once:
                self._producer.init_transactions()

    def _send(self, some: Sequence[Record]) -> None:
        with fatal("replay"):
            outputs = [replayed(one, partitions=self._partitions) for one in some]
            marks = [marker(Place(one.partition.number, one.offset), self._topic) for one in some]
            if self._exactly_once:
                self._producer.begin_transaction()
            publish(self._producer, outputs, seconds=self._settings.commit_seconds)
            # Without a transaction a marker stands whatever becomes of its record: it comes once that is there.
            publish(self._producer, marks, seconds=self._settings.commit_seconds)
            if self._exactly_once:
                self._producer.commit_transaction()

    def _partitions(self, topic: str) -> int:
        return len(self._producer.partitions_for(topic))

    def _close(self) -> None:
        with fatal("close"):
            self._producer.close(timeout=self._settings.request_seconds)


def _obstacle(letter: Letter, inputs: Collection[str], most_replays: int) -> Obstacle | None:
    if letter.replayed:
        return Obstacle.REPLAYED
    if letter.told.origin.topic not in inputs:
        return Obstacle.FOREIGN
    if not letter.whole:
        return Obstacle.POINTER
    return Obstacle.TOO_OFTEN if letter.told.replays >= most_replays else None

"""A dead-letter topic as an operator sees it: which letters wait in it, which of them are chosen, and the records that they hold.

The topic is its own book: a replay leaves a marker in it, in the transaction that writes the record back, so that no letter is replayed
twice, whoever asks and whatever dies meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from kafka.structs import TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Output, Record
from moderation.stream.client import make_reader, records, without_content
from moderation.stream.credentials import opening
from moderation.stream.dead_letter import PREFIX, DeadLetter, is_pointer, read_dead_letter
from moderation.stream.faults import fatal

WINDOW = 10_000  # places of a partition whose letters are held at once
MARK = PREFIX + "replayed"  # the header of a marker: the place of the letter that was replayed


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a letter lies in its topic, printed as `partition:offset`."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that is printed so. Raises ValueError."""
        partition, _, offset = text.partition(":")
        if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
            raise ValueError(f"found {text!r}; expected PARTITION:OFFSET, such as 0:17")
        return cls(int(partition), int(offset))

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter without its content: what is told of it, when it was set aside, the bytes that it holds.

    `whole` says whether it holds the record, or is a pointer to one that was too large; `replayed` whether it went back already.
    """

    place: Place
    told: DeadLetter
    set_aside_ms: int
    size: int
    whole: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: all that fit everything that is not left open. Times are milliseconds since 1970, `until_ms` is not included."""

    places: Collection[Place] = ()
    stages: Collection[str] = ()
    causes: Collection[str] = ()
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        return (
            (not self.places or letter.place in self.places)
            and (not self.stages or letter.told.stage in self.stages)
            and (not self.causes or letter.told.cause in self.causes)
            and (self.since_ms is None or letter.set_aside_ms >= self.since_ms)
            and (self.until_ms is None or letter.set_aside_ms < self.until_ms)
        )


class Found:
    """The chosen letters of a topic while it is read, once, from its end; `foreign` counts the records met that are neither letter nor marker.

    `windows` are stretches of it, the last one first, records in order within a partition: a marker lies behind its letter, so that of a stretch
    that was read nothing need be remembered but the markers of earlier letters.
    """

    def __init__(self, windows: Iterable[Iterable[Record]], choice: Choice = Choice()) -> None:
        self._windows, self._choice, self.foreign = windows, choice, 0

    def __iter__(self) -> Iterator[Letter]:
        marked: set[Place] = set()
        for window in self._windows:
            letters: list[Letter] = []
            for record in window:
                place, mark = Place(record.partition.number, record.offset), _mark(record)
                told = read_dead_letter(record)
                if mark:
                    marked.add(mark)
                elif told is None:
                    self.foreign += 1
                else:
                    letters.append(Letter(place, told, record.timestamp_ms, record.size, not is_pointer(record)))
            for one in filter(self._choice.takes, letters):
                yield replace(one, replayed=one.place in marked)
            marked.difference_update(one.place for one in letters)


def marker(place: Place, topic: str) -> Output:
    """What is left in the topic when the letter at this place is replayed."""
    told = str(place).encode()
    return Output(topic, b"", key=told, headers=((MARK, told),), partition=place.partition)


class DeadLetterTopic:
    """A dead-letter topic to read from; one thread uses it. Raises StreamError where the brokers cannot be used, or have no such topic."""

    def __init__(self, name: str, settings: StreamSettings) -> None:
        self.name, self._settings = name, settings
        without_content(logging.getLogger("kafka"))
        with opening(f"read topic {name!r}", settings):
            self._reader = make_reader(settings)
            self._partitions = sorted(self._reader.partitions_for_topic(name))
        if not self._partitions:
            self.close()
            message = f"there is no topic {name!r}, or none that we may read"
            raise StreamError(message, exit_code=ExitCode.UNAVAILABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the brokers."""
        self._reader.close(timeout_ms=round(1000 * self._settings.request_seconds))

    def find(self, choice: Choice = Choice()) -> Found:
        """Every chosen letter that is committed by now. One pass over the topic from `since_ms` on; no content is kept."""
        return Found(self._windows(self._starts(choice.since_ms), self._ends()), choice)

    def records(self, places: Collection[Place]) -> Iterator[Record]:
        """The records of the topic at these places, in order within each partition; a place where nothing lies any more is left out."""
        offsets: dict[int, set[int]] = {}
        for place in places:
            offsets.setdefault(place.partition, set()).add(place.offset)
        offsets = {number: wanted for number, wanted in offsets.items() if number in self._partitions}
        first = self._bounds("beginning_offsets", offsets)
        ends = {
            number: min(max(offsets[number]) + 1, end) for number, end in self._bounds("end_offsets", offsets).items()
        }
        starts = {number: max(min(wanted), first[number]) for number, wanted in offsets.items()}
        for record in self._read(starts, ends):
            if record.offset in offsets[record.partition.number]:
                yield record

    def _starts(self, since_ms: int | None) -> dict[int, int]:
        if since_ms is None:
            return self._bounds("beginning_offsets", self._partitions)
        with fatal(f"read topic {self.name!r}"):
            asked = {TopicPartition(self.name, number): since_ms for number in self._partitions}
            found = self._reader.offsets_for_times(asked, timeout_ms=self._timeout_ms)
        ends = self._ends()
        return {one.partition: at.offset if at else ends[one.partition] for one, at in found.items()}

    def _ends(self) -> dict[int, int]:
        return self._bounds("end_offsets", self._partitions)

    def _bounds(self, which: str, numbers: Iterable[int]) -> dict[int, int]:
        partitions = [TopicPartition(self.name, number) for number in numbers]
        with fatal(f"read topic {self.name!r}"):
            found = getattr(self._reader, which)(partitions, timeout_ms=self._timeout_ms) if partitions else {}
        return {one.partition: offset for one, offset in found.items()}

    def _windows(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Iterator[Record]]:
        """Everything between, so many places of each partition at a time, the last ones first; each is to be read before the next."""
        while any(starts[number] < end for number, end in ends.items()):
            lows = {number: max(starts[number], end - WINDOW) for number, end in ends.items()}
            yield self._read(lows, ends)
            ends = lows

    def _read(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Record]:
        """Everything between, partition by partition as it comes."""
        bounds = {TopicPartition(self.name, number): end for number, end in ends.items() if starts[number] < end}
        with fatal(f"read topic {self.name!r}"):
            self._reader.assign(list(bounds))
            for one in bounds:
                self._reader.seek(one, starts[one.partition])
        while any(self._at(one) < end for one, end in bounds.items()):
            for record in self._polled(bounds):
                if starts[record.partition.number] <= record.offset < ends[record.partition.number]:
                    yield record

    def _polled(self, bounds: Mapping[TopicPartition, int]) -> tuple[Record, ...]:
        """What comes next. Raises StreamError where nothing comes any more though there is something."""
        before, end = [self._at(one) for one in bounds], time.monotonic() + self._settings.request_seconds
        while time.monotonic() < end:
            with fatal(f"read topic {self.name!r}"):
                polled = records(self._reader.poll(timeout_ms=200))
            if polled or [self._at(one) for one in bounds] != before:
                return polled
        raise StreamError(f"read topic {self.name!r}: nothing came for {self._settings.request_seconds:g} s")

    def _at(self, partition: TopicPartition) -> int:
        with fatal(f"read topic {self.name!r}"):
            return int(self._reader.position(partition, timeout_ms=self._timeout_ms) or 0)

    @property
    def _timeout_ms(self) -> int:
        return round(1000 * self._settings.request_seconds)


def _mark(record: Record) -> Place | None:
    for name, value in record.headers:
        if name == MARK:
            try:
                return Place.parse((value or b"").decode("ascii", "replace"))
            except ValueError:
                return None
    return None

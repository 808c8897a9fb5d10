"""Dead letters: records that cannot be processed, kept as they came with the reason in headers, and what brings them back.

Key, value and headers are the original's, untouched, but for an empty value where a record has neither key nor value. What is said of it stands in headers of our own, as text, as Kafka Connect and Kafka
Streams do; said again, it takes the place of what was said before. No stack trace: it could quote content.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from moderation.stream.batch import Headers, Output, Partition, Record

PREFIX = "moderation.dlq."
LONGEST_MESSAGE = 1000  # characters
LONGEST_NUMBER = 20  # digits: headers are a stranger's word
LATEST_MS = 253_402_300_799_999  # of the year 9999: what can be shown


class Stage(StrEnum):
    """Where processing ended."""

    DECODE = "decode"  # the record is no item
    FETCH = "fetch"  # content that the record refers to cannot be had
    PUBLISH = "publish"  # its decision is too large to be published
    CRASH = "crash"  # the process died on it, again and again
    DELIVER = "deliver"  # it is no decision, or no sink takes it


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a record was set aside, and where it came from. `cause` is a stable word, `message` for people and without content."""

    origin: Partition
    offset: int
    timestamp_ms: int
    stage: Stage
    cause: str
    message: str
    attempts: int
    revisions: str
    worker: str
    first_failed_ms: int
    replays: int = 0

    @classmethod
    def about(
        cls,
        record: Record,
        stage: Stage,
        cause: str,
        message: str,
        *,
        attempts: int,
        worker: str,
        now_ms: int,
        revisions: str = "",
    ) -> Self:
        """The letter of a record that failed now, after so many attempts; those of an earlier life are added."""
        before = past(record)
        return cls(
            origin=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp_ms,
            stage=stage,
            cause=cause,
            message=message,
            attempts=before.attempts + attempts,
            revisions=revisions,
            worker=worker,
            first_failed_ms=now_ms if before.first_failed_ms is None else before.first_failed_ms,
            replays=before.replays,
        )

    def to_output(self, record: Record, topic: str, *, largest: int = 2**31) -> Output:
        """The dead letter of this record; its partition follows from its key, as for any record of that key.

        One that would have more than `largest` bytes is a pointer: where the record lies, and how large it is, with its key if that fits.
        """
        whole = self._output(record, topic)
        if whole.size <= largest:
            return whole
        pointer = self._output(record._replace(value=None, headers=()), topic, size=record.size)
        return pointer if pointer.size <= largest else replace(pointer, key=None, value=b"")

    def _output(self, record: Record, topic: str, **more: int) -> Output:
        words = self._words() | {name: str(one) for name, one in more.items()}
        told = tuple((PREFIX + name, value.encode()) for name, value in words.items())
        return Output(topic, _some(record.value, record.key), key=record.key, headers=(*original(record), *told))

    def _words(self) -> dict[str, str]:
        return {
            "topic": self.origin.topic,
            "partition": str(self.origin.number),
            "offset": str(self.offset),
            "timestamp": str(self.timestamp_ms),
            "stage": self.stage.value,
            "cause": self.cause,
            "message": self.message[:LONGEST_MESSAGE],
            "attempts": str(self.attempts),
            "revisions": self.revisions,
            "worker": self.worker,
            "first_failed": str(self.first_failed_ms),
            "replays": str(self.replays),
        }


@dataclass(frozen=True, slots=True)
class Past:
    """What a record went through before: attempts to decide it, replays, and when it first failed (None: never)."""

    attempts: int = 0
    replays: int = 0
    first_failed_ms: int | None = None

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers that tell of it in a record that is replayed."""
        told = {"attempts": self.attempts, "replays": self.replays, "first_failed": self.first_failed_ms}
        return tuple((PREFIX + name, str(one).encode()) for name, one in told.items() if one is not None)


def past(record: Record) -> Past:
    """What the headers of a replayed record tell; nothing for any other."""
    told = _told(record.headers)
    try:
        first = _time(told["first_failed"]) if "first_failed" in told else None
        attempts, replays = _number(told.get("attempts", "0")), _number(told.get("replays", "0"))
    except ValueError:
        return Past()
    return Past(attempts, replays, first)


def read_dead_letter(record: Record) -> DeadLetter | None:
    """What the headers of a dead letter say; None where it is none of ours."""
    return _read(record.headers)


def set_aside(output: Output) -> DeadLetter | None:
    """What an output says that is a dead letter; None for any other."""
    return _read(output.headers)


def _read(headers: Headers) -> DeadLetter | None:
    told = _told(headers)
    try:
        return DeadLetter(
            origin=Partition(told["topic"], _number(told["partition"])),
            offset=_number(told["offset"]),
            timestamp_ms=_time(told["timestamp"]),
            stage=Stage(told["stage"]),
            cause=told["cause"],
            message=told["message"],
            attempts=_number(told["attempts"]),
            revisions=told["revisions"],
            worker=told["worker"],
            first_failed_ms=_time(told["first_failed"]),
            replays=_number(told.get("replays", "0")),
        )
    except (KeyError, ValueError):
        return None


def original(record: Record) -> tuple[tuple[str, bytes], ...]:
    """The headers that the record had before anything was said of it; one without a value has an empty one, as the client demands."""
    return tuple((name, value or b"") for name, value in record.headers if not name.startswith(PREFIX))


def is_pointer(record: Record) -> bool:
    """Whether a dead letter stands for a record that was too large to be kept in it."""
    return "size" in _told(record.headers)


def _some(value: bytes | None, key: bytes | None) -> bytes | None:
    """The value, empty where there is neither value nor key: the client cannot publish a record without both."""
    return b"" if value is None and key is None else value


def _number(text: str, *, least: int = 0, most: int = 10**LONGEST_NUMBER - 1) -> int:
    if len(text) > LONGEST_NUMBER or not least <= (number := int(text)) <= most:
        raise ValueError("no such number")
    return number


def _time(text: str) -> int:
    return _number(text, least=-1, most=LATEST_MS)


def _told(headers: Headers) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }

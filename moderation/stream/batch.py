"""What goes into and comes out of a session: our own values, none of the client's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from moderation.cheap import cheap_dataclass
from moderation.decision import Decision

Headers = tuple[tuple[str, bytes | None], ...]


class ForeignName(str):
    """A header's name that is no UTF-8: its text is for looking at, and `encode` gives the very bytes that came."""

    __slots__ = ()

    def encode(self, *_: object, **__: object) -> bytes:
        """The bytes, whatever is asked for: the client, which asks for strict UTF-8, publishes the name as it came."""
        return str.encode(self, "utf-8", "surrogateescape")


class Partition(NamedTuple):
    """One partition of a topic, printed as `topic-number`. A tuple, since every record is looked up by its own several times."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.number}"


class Record(NamedTuple):
    """One record as it lies in Kafka: nothing is decoded. `size` is the bytes of key, value and headers; `repr` holds no content."""

    partition: Partition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    size: int

    def __repr__(self) -> str:
        return f"Record({self.partition} at {self.offset}, {self.size} bytes)"


@cheap_dataclass(frozen=True, slots=True)
class Output:
    """One record to be published; without `partition` the key chooses it, as for the producer of the input. `repr` holds no content.

    `decision` is the one that it tells of, for whoever counts; a copy has none. `size` is the bytes it takes in a batch of its own before
    compression, never less than what the client counts.
    Raises ValueError without key and value: the client cannot publish such a record.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
    decision: Decision | None = field(default=None, compare=False)
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.key is None and self.value is None:
            raise ValueError("an output needs a key or a value")
        size = _OVERHEAD + len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            size += _HEADER + len(name if name.isascii() else name.encode()) + len(value)
        object.__setattr__(self, "size", size)

    def __repr__(self) -> str:
        return f"Output({self.topic}, {self.size} bytes)"


_OVERHEAD = 61 + 36  # the batch's own header, and the longest numbers of one record
_HEADER = 10  # two lengths of up to five bytes


@dataclass(frozen=True, slots=True)
class Membership:
    """Who this process was in its group when a batch was polled: what the broker holds a commit against."""

    group: str
    generation: int
    member: str
    instance: str | None

    @property
    def valid(self) -> bool:
        """Whether the group would know us; the broker accepts a commit of a nobody without any check."""
        return self.generation >= 0 and self.member != ""


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading a partition goes on. `note` was left by whoever committed it, `lost` counts offsets that retention deleted unread."""

    partition: Partition
    offset: int
    note: str = ""
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one poll, in order within each partition, and what may be committed for them.

    `assigned` is None while the assignment stands; otherwise it is the new one, and every batch before this one is void: its records
    come again, here or elsewhere.
    """

    membership: Membership
    records: tuple[Record, ...] = ()
    assigned: tuple[Position, ...] | None = None

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """At least one batch, of one membership, as one."""
        return cls(batches[0].membership, tuple(record for one in batches for record in one.records))

    def split(self, count: int) -> tuple[Batch, Batch]:
        """The first `count` records and the others, to be committed in this order."""
        return Batch(self.membership, self.records[:count]), Batch(self.membership, self.records[count:])

"""Which records were handed out and are not committed yet: no offset is skipped, none is committed twice, and bytes are counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from moderation.stream.batch import Partition, Position, Record


class Ledger:
    """The books of one assignment."""

    def __init__(self) -> None:
        self._next: dict[Partition, int] = {}
        self._open: dict[Partition, deque[int]] = {}
        self.records = 0
        self.bytes = 0

    def begin(self, positions: Iterable[Position]) -> None:
        """A new assignment: whatever was handed out before is void."""
        self._next = {position.partition: position.offset for position in positions}
        self._open = {partition: deque() for partition in self._next}
        self.records = self.bytes = 0

    @property
    def next(self) -> dict[Partition, int]:
        """By partition, the first offset that was not handed out."""
        return dict(self._next)

    def hand_out(self, records: Sequence[Record]) -> None:
        """Note that these were handed out. Raises ValueError where an offset was handed out before, or is of no partition of ours."""
        for record in records:
            if record.offset < self._next.get(record.partition, record.offset + 1):
                raise ValueError(f"{record.partition}: offset {record.offset} came out of turn")
            self._next[record.partition] = record.offset + 1
            self._open[record.partition].append(record.offset)
        self.records += len(records)
        self.bytes += sum(record.size for record in records)

    def starts(self, records: Sequence[Record]) -> dict[Partition, int]:
        """By partition, the first of these offsets. Raises ValueError unless they are the oldest that were handed out."""
        self._check(records)
        return {record.partition: record.offset for record in reversed(records)}

    def ends(self, records: Sequence[Record]) -> dict[Partition, int]:
        """By partition, the offset after the last of these. Raises ValueError unless they are the oldest that were handed out."""
        self._check(records)
        return {record.partition: record.offset + 1 for record in records}

    def settle(self, records: Sequence[Record]) -> None:
        """These are committed. Raises ValueError unless they are the oldest that were handed out."""
        self._check(records)
        for record in records:
            self._open[record.partition].popleft()
        self.records -= len(records)
        self.bytes -= sum(record.size for record in records)

    def _check(self, records: Sequence[Record]) -> None:
        wanted: dict[Partition, list[int]] = {}
        for record in records:
            wanted.setdefault(record.partition, []).append(record.offset)
        for partition, offsets in wanted.items():
            if offsets != list(islice(self._open.get(partition, ()), len(offsets))):
                raise ValueError(f"{partition}: offsets from {offsets[0]} are not the oldest that are open")

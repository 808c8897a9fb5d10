"""What the books of a session must never allow: an offset that is skipped, committed twice, or committed for another's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from moderation.stream.batch import Partition, Position, Record
from moderation.stream.ledger import Ledger

PARTITIONS = [Partition("in", number) for number in range(3)]


def record(partition: Partition, offset: int, size: int = 1) -> Record:
    return Record(partition, offset, 0, None, b"", (), size)


class Books(RuleBasedStateMachine):
    """Against a model: per partition, every offset that was handed out, and how many of them are settled."""

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger()
        self.assign(PARTITIONS, [0, 5, 9])

    @rule(owned=st.sets(st.sampled_from(PARTITIONS)), offsets=st.tuples(*[st.integers(0, 50)] * 3))
    def assign(self, owned: Any, offsets: Any) -> None:
        positions = [Position(one, offsets[one.number]) for one in sorted(owned)]
        self.ledger.begin(positions)
        self.next = {position.partition: position.offset for position in positions}
        self.open: list[Record] = []

    @rule(data=st.data(), sizes=st.lists(st.integers(0, 9), max_size=6))
    @precondition(lambda self: self.next)
    def hand_out(self, data: st.DataObject, sizes: list[int]) -> None:
        """Offsets rise, with the gaps that transactions and compaction leave."""
        records = []
        for size in sizes:
            partition = data.draw(st.sampled_from(sorted(self.next)))
            offset = self.next[partition] + data.draw(st.integers(0, 2))
            records.append(record(partition, offset, size))
            self.next[partition] = offset + 1
        self.ledger.hand_out(records)
        self.open += records

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Any number of the oldest of each partition, in any mixture of partitions."""
        taken = []
        for partition in self.next:
            mine = [one for one in self.open if one.partition == partition]
            taken += mine[: data.draw(st.integers(0, len(mine)))]
        ends = self.ledger.ends(taken)
        assert ends == {one.partition: one.offset + 1 for one in taken}
        assert self.ledger.starts(taken) == {one.partition: one.offset for one in reversed(taken)}
        self.ledger.settle(taken)
        self.open = [one for one in self.open if one not in taken]

    @rule(data=st.data())
    def out_of_turn(self, data: st.DataObject) -> None:
        """Leaving out an older one, or settling one twice, is refused and changes nothing."""
        wrong = [one for one in self.open if any(_older(other, one) for other in self.open)]
        wrong += [record(one, offset - 1) for one, offset in self.next.items() if not _has(self.open, one)]
        wrong.append(record(Partition("other", 0), 0))
        chosen = data.draw(st.sampled_from(wrong))
        for ask in (self.ledger.starts, self.ledger.ends, self.ledger.settle):
            with pytest.raises(ValueError, match="not the oldest"):
                ask([chosen])

    @invariant()
    def counts(self) -> None:
        assert (self.ledger.records, self.ledger.bytes) == (len(self.open), sum(one.size for one in self.open))
        assert self.ledger.next == self.next


def _older(one: Record, other: Record) -> bool:
    return one.partition == other.partition and one.offset < other.offset


def _has(records: list[Record], partition: Partition) -> bool:
    return any(one.partition == partition for one in records)


TestBooks = Books.TestCase


@pytest.mark.parametrize(("partition", "offset"), [(PARTITIONS[0], 3), (PARTITIONS[1], 7)])
def test_a_record_that_came_before_or_is_not_ours_is_refused(partition: Partition, offset: int) -> None:
    ledger = Ledger()
    ledger.begin([Position(PARTITIONS[0], 3)])
    ledger.hand_out([record(PARTITIONS[0], 3)])
    with pytest.raises(ValueError, match="came out of turn"):
        ledger.hand_out([record(partition, offset)])

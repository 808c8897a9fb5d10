"""The one hardened session around the Kafka client: what it polls is committed once with all its outputs, or this process ends.

kafka-python loses or repeats records, or hangs, where it is used as the Java documentation teaches. Its seven guards stand here, named D1 to D7
where they act (D1 beside the client, in `publish`); each has a test on a real broker that fails without it (tests/integration/stream/test_guards.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from kafka.errors import NoOffsetForPartitionError, RetriableError
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata, TopicPartition

from moderation.errors import OutputError, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Batch, Membership, Output, Partition
from moderation.stream.client import (
    make_consumer,
    make_producer,
    ours,
    publish,
    records,
    require,
    theirs,
    without_content,
)
from moderation.stream.credentials import opening
from moderation.stream.deadline import CallThread
from moderation.stream.faults import fatal
from moderation.stream.ledger import Ledger
from moderation.stream.liveness import Progress
from moderation.stream.positions import read_positions

SHORTEST_POLL, LONGEST_POLL = 0.1, 1.0  # seconds
_LOOK_EVERY, _LOOK = 5.0, 1.0  # seconds between two looks at what is left to read, and for one
Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Session:
    """Records in, outputs and offsets out, for one worker of a consumer group.

    One thread calls it: it polls often (also while a batch is worked on, or the group goes on without this worker) and commits batches
    in the order in which they came. A StreamError from any call means: end this process (`moderation.stream.liveness.leave`).
    """

    def __init__(self, settings: StreamSettings) -> None:
        """Connect, end what a predecessor in this slot left open, and join the group. Raises StreamError."""
        self._settings = settings
        self._ledger = Ledger()
        self._membership: Membership | None = None  # the one that positions were read for
        self._marked: tuple[Batch, str] | None = None  # what is tried under a note, and what else the note may say
        self._held: set[Partition] = set()
        self._holds_all = False
        self._ended: StreamError | None = None
        self._looked = 0.0
        self.progress = Progress()
        self.lag: dict[Partition, int] = {}  # records not read yet, as of a few seconds ago
        without_content(logging.getLogger("kafka"))
        self._thread = CallThread(f"kafka-{settings.group}")
        self._call("open", 6 * settings.request_seconds, self._open)

    def poll(self, seconds: float = LONGEST_POLL) -> Batch:
        """What came within `seconds`, perhaps nothing; and whether the assignment changed.

        At least 0.1 s and at most 1 s are waited; 1 s also while the group assigns partitions anew.
        """
        return self._call("poll", self._settings.poll_interval_seconds, partial(self._poll, seconds))

    def commit(self, batch: Batch, outputs: Iterable[Output] = (), *, note: str = "") -> bool:
        """Publish the outputs and advance the offsets over the batch: all or nothing where exactly_once is promised.

        Returns False, and has sent nothing, where the group moved on since the batch was polled: its records come again, here or elsewhere.
        Raises OutputError (nothing was sent either), StreamError, and ValueError for a batch out of turn or an output that is nobody's.
        """
        given = tuple(outputs)
        self._check(batch, given)
        return self._call("commit", self._settings.commit_seconds + 1, partial(self._commit, batch, given, note))

    def mark(self, batch: Batch, note: str, *, otherwise: str = "") -> bool:
        """Leave a note where the batch starts, for whoever reads it next should this process die of it; returns as `commit` does.

        It comes back in `Position.note`, is no progress, and gives way to the next commit, or to `otherwise` where the partitions are taken
        away before: then nobody died.
        """
        return self._call("mark", self._settings.commit_seconds + 1, partial(self._mark, batch, note, otherwise))

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        """Hand out no more records of these, or of all and any that come; it outlives a new assignment."""
        self._holds_all |= partitions is None
        self._held |= set(partitions or ())

    def resume(self, partitions: Collection[Partition] | None = None) -> None:
        """Take back `pause` for these, or altogether."""
        self._holds_all &= partitions is not None
        self._held = self._held - set(partitions) if partitions is not None else set()

    @property
    def held(self) -> bool:
        """Whether no partition brings records: all are paused, or too many bytes are in flight."""
        return self._holds_all or self._ledger.bytes >= self._settings.in_flight_bytes

    @property
    def in_flight(self) -> tuple[int, int]:
        """Records that were handed out and are not committed, and their bytes."""
        return self._ledger.records, self._ledger.bytes

    def close(self) -> None:
        """Leave the group in good order. What was not committed comes again elsewhere; after a StreamError this does nothing."""
        if self._ended:
            return
        try:
            self._call("close", 3 * self._settings.request_seconds, self._close)
        except StreamError as error:
            _log.warning("left without a farewell, so others wait for the session time-out: %s", error)
        self._ended = StreamError("the session is closed")
        self._thread.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, what: str, seconds: float, function: Callable[[], Result]) -> Result:
        """D2: no call of the client is waited for beyond its deadline. D3: after any failure the client is never used again."""
        if self._ended:
            raise StreamError(f"{what}: the session has ended: {self._ended}", exit_code=self._ended.exit_code)
        try:
            return self._thread.call(what, seconds, function)
        except StreamError as error:
            self._ended = error
            raise

    def _open(self) -> None:
        with opening("open (the client's log has the cause)", self._settings):
            self._producer = make_producer(self._settings)
            require(self._producer, self._settings)
            if self._settings.delivery == "exactly_once":
                self._producer.init_transactions()
            self._consumer = make_consumer(self._settings, taken_away=self._taken_away)

    def _poll(self, seconds: float) -> Batch:
        with fatal(f"poll at {self._places()}"):  # D5: after an error, the client's next poll may never return
            self._hold()
            polled = self._polled(seconds)
            found = self._current()  # D6: who we were when these were polled, not when they are committed
            if not found.valid:
                return self._outside(found)
            if found != self._membership:
                return self._assigned(found)
            batch = Batch(found, records(polled))
            self._ledger.hand_out(batch.records)
            self._look(idle=not batch.records)
            return batch

    def _polled(self, seconds: float) -> Mapping[TopicPartition, Sequence[Any]]:
        """D7: the client forgets a join that is finished between two of its polls and begins another, so polls are long while it joins."""
        joined = self._consumer.group_metadata().state == MemberState.STABLE
        wait = min(max(seconds, SHORTEST_POLL), LONGEST_POLL) if joined else LONGEST_POLL
        try:
            polled: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms=round(wait * 1000))
        except NoOffsetForPartitionError:  # before anything was fetched: the session has yet to say where to start
            self._membership, polled = None, {}
        return polled

    def _outside(self, found: Membership) -> Batch:
        """Not in the group, or not yet: what was handed out is void, and that is told once."""
        was_inside, self._membership = self._membership is not None, None
        self._ledger.begin(())
        return Batch(found, assigned=() if was_inside else None)

    def _assigned(self, found: Membership) -> Batch:
        """D4: a new generation starts at what is committed, whatever the client believes and has polled; at the start, too."""
        self._membership = None
        positions = read_positions(self._consumer, self._settings)
        for position in positions:
            self._consumer.seek(theirs(position.partition), position.offset)
        self._ledger.begin(positions)
        self._membership = found
        self._hold()
        return Batch(found, assigned=positions)

    def _hold(self) -> None:
        """Pause what shall be paused, and nothing else: the client forgets it with every assignment. Too many bytes in flight hold all."""
        assigned = self._consumer.assignment()
        wanted = {one for one in assigned if self.held or ours(one) in self._held}
        self._consumer.pause(*(wanted - self._consumer.paused()))
        self._consumer.resume(*(self._consumer.paused() - wanted))

    def _look(self, *, idle: bool) -> None:
        """Every few seconds, ask what is left to read: having nothing to do is progress, but an empty poll does not prove it."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        partitions = list(self._consumer.assignment())
        timeout_ms = round(_LOOK * 1000)
        try:
            ends = self._consumer.end_offsets(partitions, timeout_ms=timeout_ms) if partitions else {}
            at = {one: self._consumer.position(one, timeout_ms=timeout_ms) or 0 for one in partitions}
        except RetriableError:
            return
        self.lag = {ours(one): max(0, ends[one] - at[one]) for one in partitions}
        if idle and not self._ledger.records and not any(self.lag.values()):
            self.progress.made()

    def _commit(self, batch: Batch, outputs: tuple[Output, ...], note: str) -> bool:
        if not self._stands(batch):
            return False
        if not batch.records:
            return True
        self._send("commit", outputs, self._ledger.ends(batch.records), note, batch.membership)
        self._marked = None
        self._ledger.settle(batch.records)
        self.progress.made()
        return True

    def _mark(self, batch: Batch, note: str, otherwise: str) -> bool:
        if not self._stands(batch):
            return False
        if batch.records:
            self._send("mark", (), self._ledger.starts(batch.records), note, batch.membership)
            self._marked = batch, otherwise
        return True

    def _taken_away(self) -> None:
        """Amid a poll, before the group assigns anew, and while it still takes our word: a rebalance is no death."""
        batch, otherwise = self._marked or (None, "")
        if batch and batch.membership == self._membership:
            self._send("unmark", (), self._ledger.starts(batch.records), otherwise, batch.membership, waits=False)
        self._marked = None

    def _stands(self, batch: Batch) -> bool:
        """Whether the group is still where it was when the batch was polled, as far as is known here; the broker has the last word."""
        return batch.membership == self._membership == self._current()

    def _send(
        self,
        what: str,
        outputs: tuple[Output, ...],
        offsets: Mapping[Partition, int],
        note: str,
        polled_as: Membership,
        *,
        waits: bool = True,
    ) -> None:
        kept = {theirs(partition): OffsetAndMetadata(offset, note, -1) for partition, offset in offsets.items()}
        with fatal(f"{what} at {self._places()}", transaction_seconds=self._settings.transaction_seconds):
            if self._settings.delivery == "at_least_once":
                publish(self._producer, outputs, seconds=self._settings.commit_seconds)
                if waits:
                    self._consumer.commit(kept, timeout_ms=round(self._settings.commit_seconds * 1000))
                else:  # amid a poll the client would wait for itself; what it sends then arrives before it joins again
                    self._consumer.commit_async(kept)
                return
            self._producer.begin_transaction()
            publish(self._producer, outputs, seconds=self._settings.commit_seconds)
            group = ConsumerGroupMetadata(polled_as.group, polled_as.generation, polled_as.member, polled_as.instance)
            self._producer.send_offsets_to_transaction(kept, group)
            self._producer.commit_transaction()

    def _check(self, batch: Batch, outputs: tuple[Output, ...]) -> None:
        """Before anything is sent, what would end the session though nothing is wrong with the broker."""
        if outputs and not batch.records:
            raise ValueError("outputs without a record that they are for")
        limit = self._settings.output_bytes
        for index, output in enumerate(outputs):
            if output.topic not in self._settings.outputs:
                raise ValueError(f"topic {output.topic!r} is not among the outputs of the settings")
            if output.size > limit:
                raise OutputError(output.topic, index=index, size=output.size, limit=limit)

    def _current(self) -> Membership:
        """Who we are in the group, and a nobody while it assigns partitions: the client knows its generation before its assignment."""
        now = self._consumer.group_metadata()
        if now.state != MemberState.STABLE:
            return Membership(now.group_id, -1, "", now.group_instance_id)
        return Membership(now.group_id, now.generation_id, now.member_id, now.group_instance_id)

    def _places(self) -> str:
        """Where reading stands, for an error: an operator who must step over a record has to know."""
        return ", ".join(f"{partition}:{offset}" for partition, offset in self._ledger.next.items()) or "no partition"

    def _close(self) -> None:
        self._marked = None  # what is still tried now has ended this process
        with fatal("close"):
            seconds = self._settings.request_seconds
            self._consumer.close(autocommit=False, timeout_ms=round(seconds * 1000))
            self._producer.close(timeout=seconds)

"""The loop of `moderation deliver`: decisions from a topic to a sink, each at least once, in the order of their partition.

One thread talks to Kafka, one calls the sink. An offset is committed once its decision was taken, refused for good, or given up, never before; what
is in hand when the process dies, or its partitions move, is sent again under the same id. A sink that fails altogether
is waited for, however long that takes: only a decision that fails while others get through becomes a dead letter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from moderation.breaker import Breaker
from moderation.decision import Again, Delivered, Gone, Receipt, Refused
from moderation.errors import ExitCode, StreamError
from moderation.sink.runner import SinkRunner
from moderation.stream.batch import Batch, Membership, Output, Partition
from moderation.stream.deliver_lane import LONGEST_ASKED, Entry, Lane
from moderation.stream.deliver_metrics import DeliverMetrics
from moderation.stream.deliver_record import Letters, read_entry
from moderation.stream.liveness import Progress

BUSY, IDLE = 0.1, 1.0  # seconds a poll may wait
RARELY = 0.5  # seconds between two polls while there is enough to send: the group must still hear of this process
AHEAD = 4  # calls' worth of records that a partition may have in hand
FAR = 200  # the same of one that looks for who could tell whose fault it is, past all that nobody sends


class Session(Protocol):
    """What the loop needs of Kafka."""

    def poll(self, seconds: float) -> Batch: ...
    def commit(self, batch: Batch, outputs: Sequence[Output]) -> bool: ...
    def pause(self, partitions: Collection[Partition] | None = None) -> None: ...
    def resume(self, partitions: Collection[Partition] | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the sink: what was sent of each lane, and the receipts, in that order; `stands_in` where it is in the place of a first one."""

    sent: list[tuple[Lane, list[Entry]]]
    receipts: Future[tuple[Receipt, ...]]
    began: float
    stands_in: bool


class Deliverer:
    """Works until `stop` is set, then waits for the call that is under way, commits, and returns.

    Of the decisions those go to the sink whose action is among `actions` (None: all), at most `most` in one call; `lane` makes the books of a partition. `breaker` keeps from a sink of which
    nothing gets through. Raises what the session raises, and StreamError (73) where the sink says that it takes no more: then this process must end.
    """

    def __init__(
        self,
        session: Session,
        sink: SinkRunner,
        *,
        letters: Letters,
        lane: Callable[[], Lane],
        breaker: Breaker,
        progress: Progress,
        metrics: DeliverMetrics,
        actions: Collection[str] | None,
        most: int,
        stop: Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._sink, self._letters, self._lane, self._breaker = session, sink, letters, lane, breaker
        self._progress, self._metrics, self._actions, self._most, self._stop = progress, metrics, actions, most, stop
        self._clock = clock
        self._lanes: dict[Partition, Lane] = {}
        self._full: set[Partition] = set()
        self._membership: Membership | None = None
        self._call: _Call | None = None
        self._through = 0  # decisions that the sink took, or refused for good
        self._size = 1  # of the next call: doubled when something got through, one when nothing did
        self._rests_until = self._polled = 0.0

    def run(self) -> None:
        """The loop."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="deliver")
        try:
            while not self._stop.is_set() or self._call:
                self._step(pool)
        finally:  # whoever raises is not kept waiting by a sink that hangs
            pool.shutdown(wait=False, cancel_futures=True)

    def _step(self, pool: ThreadPoolExecutor) -> None:
        self._wait()
        self._answered(pool)
        self._commit()
        self._send(pool)
        self._hold()
        if self._call is None and any(self._lanes.values()) and not self._sink.hangs:
            self._progress.made()  # waiting for a sink that answers is not being stuck

    def _wait(self) -> None:
        """For the sink's answer, or for records."""
        if self._call and self._clock() < self._polled + RARELY and any(self._lanes.values()):
            wait([self._call.receipts], timeout=BUSY)
            return
        batch = self._session.poll(BUSY if self._call or any(self._lanes.values()) else IDLE)
        self._polled = self._clock()
        if batch.assigned is not None:  # what came before is void, and comes again, here or elsewhere
            self._membership = batch.membership
            self._lanes = {one.partition: self._lane() for one in batch.assigned}
            self._session.resume()
            self._full = set()
        for record in batch.records:
            entry = read_entry(record, self._actions)
            self._lanes[record.partition].add(entry)
            if entry.done and not entry.ending:
                self._metrics.deliveries.labels("left_out").inc()

    def _answered(self, pool: ThreadPoolExecutor) -> None:
        """What the sink said, where it has answered by now."""
        call = self._call
        if call is None or not call.receipts.done():
            return
        self._call = None
        receipts = call.receipts.result()
        self._metrics.called(self._clock() - call.began, receipts)
        through = sum(isinstance(one, Delivered | Refused) for one in receipts)
        self._through += through
        self._size = min(self._most, 2 * self._size) if through else 1
        self._tell_lanes(call, receipts)
        if gone := next((one for one in receipts if isinstance(one, Gone)), None):
            self._commit()
            message = f"the sink {self._sink.id!r} takes no decision any more: {gone.reason}"
            raise StreamError(message, exit_code=ExitCode.UNWRITABLE)
        if through:
            self._breaker.succeeded()
        elif call.stands_in or not self._send_substitute(pool, call):
            self._failed(receipts)

    def _tell_lanes(self, call: _Call, receipts: Sequence[Receipt]) -> None:
        """Lanes of an earlier assignment too: nothing is committed of them any more."""
        at, now = 0, self._clock()
        for lane, sent in call.sent:
            lane.told(sent, receipts[at : at + len(sent)], through=self._through, now=now)
            at += len(sent)

    def _failed(self, receipts: Sequence[Receipt]) -> None:
        """Nothing got through: all wait as long as was asked for, at least."""
        told = [one for one in receipts if isinstance(one, Again)]
        reason = next((one.reason for one in told if one.tried), "not_tried")
        self._rests_until = self._clock() + min(LONGEST_ASKED, *(one.seconds for one in told))
        self._breaker.failed(reason)

    def _send(self, pool: ThreadPoolExecutor) -> None:
        now = self._clock()
        if self._call or self._stop.is_set() or now < self._rests_until:
            return
        ready = sorted((one for one in self._lanes.values() if one.next(1, now)), key=lambda one: one.last_sent)
        sent = self._together(ready, now)
        if sent and self._breaker.admits():
            self._begin(pool, sent)

    def _together(self, ready: Sequence[Lane], now: float) -> list[tuple[Lane, list[Entry]]]:
        """What is sent in one call: what failed before is sent alone, or its fault would be laid to others."""
        if ready and ready[0].suspect:
            return [(ready[0], ready[0].next(1, now))]
        left, sent = self._size, list[tuple[Lane, list[Entry]]]()
        for lane in ready:
            if left and not lane.suspect:
                sent.append((lane, lane.next(left, now)))
                left -= len(sent[-1][1])
        return sent

    def _send_substitute(self, pool: ThreadPoolExecutor, call: _Call) -> bool:
        """Where one lane's first decision failed time after time, and no other lane tells whose fault that is, at once the next one in its place."""
        if self._stop.is_set():
            return False
        for lane, _ in call.sent:
            if lane in self._lanes.values() and (entries := lane.substitute()):
                self._begin(pool, [(lane, entries)], stands_in=True)
                return True
        return False

    def _begin(
        self, pool: ThreadPoolExecutor, sent: list[tuple[Lane, list[Entry]]], *, stands_in: bool = False
    ) -> None:
        now = self._clock()
        for lane, _ in sent:
            lane.last_sent = now
        deliveries = [one.delivery for _, entries in sent for one in entries if one.delivery]
        self._call = _Call(sent, pool.submit(self._sink.deliver, deliveries), now, stands_in)

    def _commit(self) -> None:
        """Everything that is done, up to the first of each partition that is not."""
        done = [entry for lane in self._lanes.values() for entry in lane.settled()]
        if not done or not self._membership:
            return
        outputs = [self._letters.of(one.record, one.ending) for one in done if one.ending]
        if not self._session.commit(Batch(self._membership, tuple(one.record for one in done)), outputs):
            self._lanes, self._membership = {}, None  # the group moved on: all comes again

    def _hold(self) -> None:
        """Read no further where enough is in hand: a lane that waits must not keep the others' records out of memory."""
        full = {
            partition
            for partition, lane in self._lanes.items()
            if len(lane) >= (FAR if lane.lonely else AHEAD) * self._most
        }
        self._session.pause(full - self._full)
        self._session.resume(self._full - full)
        self._full = full

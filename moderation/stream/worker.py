"""The loop of a worker: poll, decide, then publish and commit in one step, batch after batch, in the order in which they came.

One thread talks to Kafka, two decide the next batches meanwhile (one is read and decoded while the other is encoded and judged), as many records at a time as take about
`batch_seconds`. What was polled is committed once with all its outputs, or comes again:
here after a new assignment, elsewhere, or in the process that follows this one. Nothing is repaired in place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from moderation.errors import ModerationError
from moderation.stream.batch import Batch, Output, Partition, Position, Record
from moderation.stream.caution import Caution
from moderation.stream.dead_letter import Stage
from moderation.stream.pace import Pace

AT_ONCE = 2  # batches being decided
IN_HAND = 4  # those, and what is decided and not yet published
BUSY, IDLE = 0.1, 1.0  # seconds a poll may wait
RARELY = 0.5  # seconds between two polls that can bring nothing: the group must still hear of this worker
Outputs = list[tuple[Output, ...]]


class Session(Protocol):
    """What the loop needs of Kafka; `held` is whether a poll can bring no records, by `pause` or for too many bytes in flight."""

    @property
    def held(self) -> bool: ...
    def poll(self, seconds: float) -> Batch: ...
    def commit(self, batch: Batch, outputs: Sequence[Output], *, note: str = "") -> bool: ...
    def mark(self, batch: Batch, note: str, *, otherwise: str) -> bool: ...
    def pause(self, partitions: Collection[Partition] | None = None) -> None: ...
    def resume(self, partitions: Collection[Partition] | None = None) -> None: ...


class Decider(Protocol):
    """What the loop needs of deciding; batches come from several threads."""

    def decide(self, records: Sequence[Record]) -> Outputs: ...
    def set_aside(self, record: Record, stage: Stage, cause: str, message: str, *, attempts: int) -> Output: ...


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch that is being decided: its outputs, and the seconds that they took; nothing runs beside one that may kill."""

    batch: Batch
    outputs: Future[tuple[Outputs, float]]
    alone: bool


class Worker:
    """Works until `stop` is set, then finishes what is being decided and returns. `name` tells this very process from every other.

    `window` is the largest number of records that may be in flight, and `pace` says how many are decided together; a record that was
    tried alone and killed the process `tries` times is set aside. Raises whatever a decision or the session raises: then this process must end.
    """

    def __init__(
        self,
        session: Session,
        decider: Decider,
        *,
        name: str,
        window: int,
        pace: Pace,
        stop: threading.Event,
        tries: int = 3,
    ) -> None:
        self._session, self._decider, self._stop = session, decider, stop
        self._name, self._window, self._pace, self._tries = name, window, pace, tries
        self._caution: dict[Partition, Caution] = {}
        self._untried: set[Partition] = set()  # partitions of which nothing was tried since they were assigned
        self._waiting: deque[Batch] = deque()
        self._running: deque[_Running] = deque()
        self._void: list[Future[tuple[Outputs, float]]] = []  # still at work on what an earlier assignment brought
        self._polled = 0.0

    def run(self) -> None:
        """The loop."""
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="decide")
        try:
            while not self._stop.is_set():
                self._step(pool)
            self._session.pause()
            self._waiting.clear()  # not begun: it comes again elsewhere
            while self._running:
                self._step(pool)
        finally:  # whoever raises is not kept waiting by what is at work, which may hang
            pool.shutdown(wait=False, cancel_futures=True)

    def _step(self, pool: ThreadPoolExecutor) -> None:
        if self._session.held and self._running and time.monotonic() < self._polled + RARELY:
            # A poll would bring nothing, and sleep longer than a batch takes.
            wait([self._running[0].outputs], timeout=BUSY)
        else:
            self._poll()
        self._start(pool)  # before publishing: while the broker is waited for, the next ones are decided
        self._publish()
        self._start(pool)
        self._hold()

    def _poll(self) -> None:
        batch = self._session.poll(BUSY if self._running or self._waiting else IDLE)
        self._polled = time.monotonic()
        if batch.assigned is not None:
            self._begin(batch.assigned)
        if batch.records and not self._stop.is_set():
            self._waiting.append(batch)

    def _hold(self) -> None:
        """Read no further while enough is in hand: what was read and not committed is read again after every new assignment."""
        in_hand = sum(len(one.records) for one in self._waiting) + sum(len(one.batch.records) for one in self._running)
        if in_hand >= 3 * self._window // 4:
            self._session.pause()
        elif not self._stop.is_set():
            self._session.resume()

    def _begin(self, assigned: Sequence[Position]) -> None:
        """A new assignment: what came before it is void, and notes may tell of a death."""
        self._forget()
        self._caution = {
            one.partition: Caution.found(one.offset - one.lost, one.note, worker=self._name, window=self._window).at(
                one.offset
            )
            for one in assigned
        }
        self._untried = set(self._caution)

    def _forget(self) -> None:
        # What has not begun is cancelled: what comes instead shall not wait for it.
        self._void += [one.outputs for one in self._running if not one.outputs.cancel()]
        self._waiting.clear()
        self._running.clear()

    def _publish(self) -> None:
        """Commit what is decided, oldest first and all in one step: a commit costs about the same for one batch and for several."""
        batches, outputs = [], Outputs()
        while self._running and self._running[0].outputs.done():
            done = self._running.popleft()
            # An error of ours is an encoder that fails on everything: the process ends, and nobody died of these records.
            blameless = isinstance(done.outputs.exception(), ModerationError | None)
            stands = not (done.alone and blameless) or self._survived(done.batch)
            made, seconds = done.outputs.result()
            if not stands:
                return
            self._pace.took(len(done.batch.records), seconds)
            batches.append(done.batch)
            outputs += made
        if batches:
            self._commit(Batch.joined(batches), outputs)

    def _survived(self, batch: Batch) -> bool:
        """Take back the note before what it stands for is published: should that fail, as when brokers are away, nobody died of the records."""
        resting = self._caution[batch.records[0].partition].resting
        if not self._session.mark(batch, resting, otherwise=resting):
            self._forget()
            return False
        return True

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Begin to decide what waits. What may kill is tried alone, in pieces, with a note before each: a death beside it would be laid to it."""
        while self._waiting and len(self._running) < IN_HAND and not any(one.alone for one in self._running):
            partition = self._dangerous(self._waiting[0])
            if partition is None:
                batch = self._next(self._pace.size)
            elif self._running or self._haunted():
                return
            else:
                batch = self._piece(partition)
                if self._caution[partition].alone >= self._tries:
                    if not self._bury(batch):
                        return
                    continue
                caution = self._caution[partition]
                if not self._session.mark(batch, caution.trying(self._name), otherwise=caution.resting):
                    self._forget()
                    return
                self._untried.discard(partition)
            self._running.append(_Running(batch, pool.submit(self._decide, batch.records), alone=partition is not None))

    def _haunted(self) -> bool:
        """Whether something void is still at work: what it dies of would be laid to what is tried now."""
        self._void = [one for one in self._void if not one.done()]
        return bool(self._void)

    def _decide(self, records: Sequence[Record]) -> tuple[Outputs, float]:
        began = time.monotonic()
        return self._decider.decide(records), time.monotonic() - began

    def _dangerous(self, batch: Batch) -> Partition | None:
        """The partition to go carefully with, where one is in the batch: the first one."""
        for record in batch.records:
            if record.partition in self._untried or self._caution[record.partition].suspicious:
                return batch.records[0].partition
        return None

    def _piece(self, partition: Partition) -> Batch:
        """The next records of this partition that may be tried together, off the first batch that waits."""
        records = self._waiting[0].records
        run = next((at for at, one in enumerate(records) if one.partition != partition), len(records))
        caution = self._caution[partition] = self._caution[partition].at(records[0].offset)
        return self._next(1 if caution.alone >= self._tries else min(run, self._pace.size, caution.size(self._window)))

    def _next(self, size: int) -> Batch:
        """So many records at most, off the first batch that waits."""
        piece, rest = self._waiting.popleft().split(size)
        if rest.records:
            self._waiting.appendleft(rest)
        return piece

    def _bury(self, batch: Batch) -> bool:
        """Set aside the record that killed so often."""
        (record,) = batch.records
        tries = self._caution[record.partition].alone
        message = f"the process died {tries} times while it worked on this record alone"
        return self._commit(batch, [(self._decider.set_aside(record, Stage.CRASH, "killed", message, attempts=tries),)])

    def _commit(self, batch: Batch, outputs: Outputs) -> bool:
        """Publish and commit; False where the group moved on, and everything in hand is void."""
        ends = {record.partition: record.offset + 1 for record in batch.records}
        after = {partition: self._caution[partition].after(offset) for partition, offset in ends.items()}
        suspicious = [one.resting for one in after.values() if one.suspicious]
        flat = [output for of_record in outputs for output in of_record]
        if not self._session.commit(batch, flat, note=suspicious[0] if suspicious else ""):
            self._forget()
            return False
        self._caution |= after
        return True

"""Items to decisions for many callers at once: read, wait for vectors, decide together with whatever else is ready."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from functools import partial

from moderation.decision import Decision
from moderation.embedding.prepared import Prepared, UnpreparedError, content_of
from moderation.errors import ItemError, ModerationError, OverloadedError
from moderation.item import ContentItem, Modality, Part
from moderation.pipeline import Pipeline
from moderation.server.batcher import SURE, Batcher
from moderation.server.job import Job
from moderation.server.pace import Pace, PartsPace
from moderation.server.ready import Ready
from moderation.server.ticket import Found
from moderation.server.turns import Turns
from moderation.server.watched import Each

THREADS = 4  # that decide: a plugin that hangs holds one of them for its deadline
MOST_UNREAD = 64  # jobs of one caller that wait for readers
_SOON = 0.05  # seconds after which who is refused for what will have passed may come again
PATIENCE = 60.0  # seconds that closing waits for what hangs


class Service:
    """Decides for callers by the pipelines that `in_force` gives them. Safe to call from several threads; `close` finishes what is in work.

    One thread reads, since readers run one call at a time; as many bytes as for the device may wait for it. What no reader reads does not.
    `readers_seconds` and `detectors_seconds` are what a turn of plugins may take.
    """

    def __init__(
        self,
        in_force: Callable[[str], Pipeline],
        batcher: Batcher,
        *,
        threads: int = THREADS,
        readers_seconds: float = 10.0,
        detectors_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.batcher, self._in_force, self._clock = batcher, in_force, clock
        self._reading, self._deciding = PartsPace(), Pace(threads)
        self._unread: Turns[Job] = Turns(batcher.weights, self._reading.seconds)
        self._ready = Ready(batcher.weights)
        self._closed = False
        # Detectors take turns, and are asked again about what is near to a threshold, and anew once an encoder had that alone.
        most = 2 * (1 + len(batcher.embedders)) * threads * detectors_seconds
        read, decide = partial(self._step, self._read), partial(self._step, self._decide)
        self._threads = [Each("read", self._next_unread, read, seconds=readers_seconds, clock=clock)]
        self._threads += [Each("decide", self._ready.take, decide, seconds=most, clock=clock) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def decide(
        self, items: Sequence[ContentItem], *, caller: str = "", seconds: float, whole: float | None = None
    ) -> Job:
        """Begin to decide items by the caller's policies, within so many seconds of the `whole` that the request had (None: the same).

        Raises OverloadedError where they could not be, or once it is closed, ItemError where they could not be within the whole.
        """
        if self._closed:  # whoever read and decided has ended
            raise OverloadedError("it is shutting down", after_seconds=_SOON)
        job = Job(
            self._in_force(caller), items, caller, self._clock() + seconds, whole=seconds if whole is None else whole
        )
        to_read = job.to_read
        self._refuse_late(job, to_read, seconds)
        if to_read:
            self._wait_for_readers(job, to_read, seconds)
        else:
            self._embed(job)
        return job

    def _refuse_late(self, job: Job, to_read: Counter[Modality], seconds: float) -> None:
        """Raises OverloadedError where reading and deciding what waits takes too long; the batcher tells of the device."""
        wait = self._deciding.seconds(self._ready.ahead(job.caller, len(job.items)))
        if to_read:
            wait += self._unread.ahead(job.caller, to_read)
        if wait > SURE * seconds and (len(self._ready) or self._unread.qsize()):
            why = f"it would take {wait:.2f} s, and {max(0.0, seconds):.2f} are left"
            raise OverloadedError(why, after_seconds=wait - SURE * seconds)

    def _wait_for_readers(self, job: Job, to_read: Counter[Modality], seconds: float) -> None:
        size, most = job.size, self.batcher.most_bytes
        if size > most:
            raise ItemError("too_much", f"{size} bytes; expected at most {most}", cause="too_much")
        if not self._unread.has_room(job.caller, size, most=MOST_UNREAD, most_bytes=most):
            raise OverloadedError("too much waits to be read", after_seconds=seconds / 2)
        self._unread.put(job, caller=job.caller, parts=to_read, size=size)

    def pipeline(self, caller: str) -> Pipeline:
        """What decides for a caller now."""
        return self._in_force(caller)

    @property
    def stuck(self) -> list[str]:
        """The names of the threads that get nowhere, one for each: `tell`, `lookup`, `device`, `read`, `decide`."""
        return sorted(one.name for one in (*self.batcher.threads, *self._threads) if one.stuck)

    @property
    def state(self) -> str:
        """`working`, `broken` for a while after the encoder failed on everything, or `stopping`, as the batcher says."""
        return self.batcher.state

    def leave(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        job.answer.cancel()
        self._unread.discard(job)
        ticket, job.ticket = job.ticket, None  # or they would keep each other
        if ticket:
            self.batcher.leave(ticket)

    def close(self) -> None:
        """Finish what was begun, and end."""
        reader, *deciders = self._threads
        self._closed = True
        self._unread.close()
        reader.join(PATIENCE)
        self.batcher.close()
        self._ready.close()
        for thread in deciders:
            thread.join(PATIENCE)

    def _read(self, jobs: Sequence[Job]) -> None:
        """Read the items of the one job that comes at a time, whose caller is charged for it, and let them be embedded."""
        (job,) = jobs
        to_read, began = job.to_read, self._clock()
        try:
            job.items = job.pipeline.read(job.items)
        finally:
            seconds = self._clock() - began
            self._reading.took(to_read, seconds)
            self._unread.charge(job.caller, seconds)
        job.read_seconds = seconds / len(job.items)
        if not job.answer.done():  # or nobody waits any more
            self._embed(job)

    def _embed(self, job: Job) -> None:
        self._ask(job, job.pipeline.wanted(job.items), into=job.found)

    def _ask(self, job: Job, wanted: Mapping[str, Sequence[Part]], *, into: Found, alone: bool = False) -> None:
        left = job.deadline - self._clock()
        ticket = job.ticket = self.batcher.ask(wanted, caller=job.caller, seconds=left, whole=job.whole, alone=alone)
        if job.answer.cancelled():  # while it was asked for
            self.batcher.leave(ticket)
        ticket.done.add_done_callback(lambda done: self._embedded(job, done, into))

    def _embedded(self, job: Job, done: Future[Found], into: Found) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error:
            _settle(job, error=error)
        else:
            job.ticket = None  # or they would keep each other; nothing of it waits
            into.update(done.result())
            self._ready.put(job)

    def _decide(self, jobs: Sequence[Job]) -> None:
        """Decide the items of jobs that share a pipeline, together. Those that are near to a threshold come again, once the device had them alone."""
        began, embedders = self._clock(), self.batcher.embedders
        prepared, alone = (
            {name: Prepared(name, one.encoder, known) for name, one in embedders.items()}
            for known in (_together(job.found for job in jobs), _together(job.alone for job in jobs))
        )
        items = [item for job in jobs for item in job.items]
        try:
            made = iter(jobs[0].pipeline.decide(items, prepared=prepared, alone=alone))
        except UnpreparedError as error:
            self._decide_later(jobs, error)
            return
        self._deciding.took(len(items), self._clock() - began)
        for job in jobs:
            own = [next(made) for _ in job.items]
            _settle(job, [_with_read(one, job.read_seconds) for one in own] if job.read_seconds else own)

    def _decide_later(self, jobs: Sequence[Job], missing: UnpreparedError) -> None:
        """Let those whose parts must be encoded alone wait for that; the others are decided."""
        contents = {content_of(missing.name, part) for part in missing.parts}
        others = []
        for job in jobs:
            parts = [part for item in job.items for part in item.parts if content_of(missing.name, part) in contents]
            if any(content_of(missing.name, part) in job.alone for part in parts):
                _settle(job, error=missing)  # what was asked for and is missing still would be for ever
            elif parts:
                try:
                    self._ask(job, {missing.name: parts}, into=job.alone, alone=True)
                except ModerationError as error:
                    _settle(job, error=error)
            else:
                others.append(job)
        if others:
            self._decide(others)

    def _next_unread(self) -> list[Job]:
        return [job] if (job := self._unread.get()) else []

    def _step(self, step: Callable[[Sequence[Job]], None], jobs: Sequence[Job]) -> None:
        """Take what is wanted of these a step further."""
        wanted = [one for one in jobs if not one.answer.done() and not self._late(one)]
        try:
            if wanted:
                step(wanted)
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
            for one in wanted:
                _settle(one, error=error)

    def _late(self, job: Job) -> bool:
        """Whether it is too late for a job, which is told so."""
        late = self._clock() > job.deadline
        if late:
            _settle(job, error=OverloadedError("its deadline passed while it waited", after_seconds=_SOON))
        return late


def _together(found: Iterable[Found]) -> Found:
    return {content: outcome for one in found for content, outcome in one.items()}


def _with_read(decision: Decision, seconds: float) -> Decision:
    return replace(decision, timing=replace(decision.timing, read=seconds))


def _settle(job: Job, made: list[Decision] | None = None, *, error: BaseException | None = None) -> None:
    with suppress(InvalidStateError):  # nobody waits any more
        if error:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(made or [])

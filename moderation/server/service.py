"""Items to decisions for many callers at once: read, wait for vectors, decide together with whatever else is ready."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from moderation.decision import Decision
from moderation.embedding.prepared import Prepared
from moderation.item import ContentItem
from moderation.pipeline import Pipeline
from moderation.server.batcher import Batcher
from moderation.server.ticket import Found, Ticket

THREADS = 4  # that decide: a plugin that hangs holds one of them for its deadline
TOGETHER = 256  # items decided at once


@dataclass(slots=True, eq=False)
class Job:
    """One request's items on their way: `answer` gives one decision for each, or raises what `Batcher.ask` does."""

    pipeline: Pipeline
    items: Sequence[ContentItem]
    caller: str
    deadline: float
    answer: Future[list[Decision]] = field(default_factory=Future)
    ticket: Ticket | None = None
    found: Found = field(default_factory=dict)


class Service:
    """Decides for callers by the pipelines that `in_force` gives them. Safe to call from several threads; `close` finishes what is in work."""

    def __init__(
        self,
        in_force: Callable[[str], Pipeline],
        batcher: Batcher,
        *,
        threads: int = THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.batcher, self._in_force, self._clock = batcher, in_force, clock
        self._steps: queue.SimpleQueue[tuple[Callable[[Sequence[Job]], None], Job] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name="decide", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def decide(self, items: Sequence[ContentItem], *, caller: str = "", seconds: float) -> Job:
        """Begin to decide items by the caller's policies, within so many seconds. Raises OverloadedError where they could not be."""
        job = Job(self._in_force(caller), items, caller, self._clock() + seconds)
        if job.pipeline.readers:
            self._steps.put((self._read, job))  # which takes a while
        else:
            self._embed(job)
        return job

    def pipeline(self, caller: str) -> Pipeline:
        """What decides for a caller now."""
        return self._in_force(caller)

    @property
    def alive(self) -> bool:
        """Whether the device still gets anywhere: its thread runs, and no batch takes ten times what it should."""
        return self.batcher.alive

    @property
    def state(self) -> str:
        """`working`, `broken` since the encoder failed on everything last, or `stopping`."""
        return self.batcher.state

    def leave(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        job.answer.cancel()
        if job.ticket:
            self.batcher.leave(job.ticket)

    def close(self) -> None:
        """Finish what was begun, and end."""
        self.batcher.close()
        for _ in self._threads:
            self._steps.put(None)
        for thread in self._threads:
            thread.join()

    def _read(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            job.items = job.pipeline.read(job.items)
            self._embed(job)

    def _embed(self, job: Job) -> None:
        wanted = job.pipeline.wanted(job.items)
        job.ticket = self.batcher.ask(wanted, caller=job.caller, seconds=job.deadline - self._clock())
        job.ticket.done.add_done_callback(lambda done: self._embedded(job, done))

    def _embedded(self, job: Job, done: Future[Found]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error:
            _settle(job, error=error)
        else:
            job.found = done.result()
            self._steps.put((self._decide, job))

    def _decide(self, jobs: Sequence[Job]) -> None:
        """Decide the items of jobs that share a pipeline, together."""
        known = {content: outcome for job in jobs for content, outcome in job.found.items()}
        embedders = self.batcher.embedders
        prepared = {name: Prepared(name, one.encoder, known) for name, one in embedders.items()}
        made = iter(jobs[0].pipeline.decide([item for job in jobs for item in job.items], prepared=prepared))
        for job in jobs:
            _settle(job, [next(made) for _ in job.items])

    def _run(self) -> None:
        while (taken := self._steps.get()) is not None:
            step, jobs = taken[0], [taken[1]]
            while step == self._decide and sum(len(one.items) for one in jobs) < TOGETHER:
                try:
                    more = self._steps.get_nowait()
                except queue.Empty:
                    break
                if more is None or more[0] != step or more[1].pipeline is not jobs[0].pipeline:
                    self._steps.put(more)
                    break
                jobs.append(more[1])
            try:
                step([one for one in jobs if not one.answer.cancelled()] or jobs[:1])
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
                for one in jobs:
                    _settle(one, error=error)


def _settle(job: Job, made: list[Decision] | None = None, *, error: BaseException | None = None) -> None:
    with suppress(InvalidStateError):  # nobody waits any more
        if error:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(made or [])

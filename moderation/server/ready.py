"""Jobs that wait to be decided: one call for all that may be decided together, and one thread woken for all that is there."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from moderation.pipeline import Pipeline
from moderation.server.fair import FairQueue
from moderation.server.job import Job

TOGETHER = 256  # items decided at once


class Ready:
    """A queue that is fair between callers by how many items they have. Safe to use from several threads, each of which `take`s what it decides."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._jobs: FairQueue[Job] = FairQueue(lambda job: job.extra, weights)
        self._changed = threading.Condition()
        self._waking = self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Let it wait for its turn."""
        with self._changed:
            self._jobs.push(job)
            self._wake()

    def take(self) -> list[Job]:
        """What is decided next, together, once something waits; none where nothing does, nor ever will."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            self._waking = False
            taken = self._together()
            if self._jobs:
                self._wake()
            return taken

    def ahead(self, caller: str, items: int) -> float:
        """How many items are decided until these new ones of a caller are, by what waits now: within its fair share it waits for nobody else."""
        with self._changed:
            return self._jobs.ahead(caller, self._jobs.of(caller).extra + items, self._jobs.held.extra + items)

    def close(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        """Wake a thread, unless one is on its way, which takes what has come until then: those of one batch come one after the other."""
        if not self._waking:
            self._waking = True
            self._changed.notify()

    def _together(self) -> list[Job]:
        taken, items = list[Job](), 0
        while items < TOGETHER and (job := self._jobs.pop(taken[0].kind if taken else None)):
            taken.append(job)
            items += len(job.items)
            if not shares(job.pipeline):
                break
        return taken


def shares(pipeline: Pipeline) -> bool:
    """Whether callers' items may be judged in one call: a plugin that fails on one item spoils all that were asked with it."""
    return pipeline.readers is None and all(one.trusted for one in pipeline.running.detectors.values())

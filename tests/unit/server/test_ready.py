"""Who is woken for jobs that are there to be decided: one thread for all that may be decided together, another for each that may not, and always somebody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from moderation.item import Part
from moderation.server.job import Job
from moderation.server.ready import TOGETHER, Ready
from tests.fakes import item
from tests.unit.server.test_batcher import until


class Deciding:
    """In a pipeline's place."""

    readers = None

    def __init__(self, *, trusted: bool = True) -> None:
        self.running = SimpleNamespace(detectors={"one": SimpleNamespace(trusted=trusted)})


def job(pipeline: Deciding, items: int = 1) -> Job:
    return Job(pipeline, [item(Part.text("a"))] * items, "", 0.0)  # type: ignore[arg-type]


@contextmanager
def threads(ready: Ready, count: int) -> Iterator[ThreadPoolExecutor]:
    """So many, none of which is left asleep at the end."""
    with ThreadPoolExecutor(count) as made:
        try:
            yield made
        finally:
            ready.close()


def waiting(ready: Ready, count: int) -> None:
    until(lambda: len(ready._changed._waiters) == count)  # type: ignore[attr-defined]


def test_all_that_is_there_is_one_call_and_wakes_one_thread(monkeypatch: Any) -> None:
    ready, pipeline, woken = Ready({}), Deciding(), list[int]()
    notify = ready._changed.notify
    monkeypatch.setattr(ready._changed, "notify", lambda n=1: (woken.append(n), notify(n)))
    with threads(ready, 4) as pool:
        taken = [pool.submit(ready.take) for _ in range(4)]
        for batch in (1, 2):
            waiting(ready, 5 - batch)
            with ready._changed:  # as where whoever puts them is quicker than who was woken
                for _ in range(32):
                    ready.put(job(pipeline))
            until(lambda batch=batch: sum(one.done() for one in taken) == batch)  # type: ignore[misc]
        assert woken == [1, 1]
    assert sorted(len(one.result(20)) for one in taken) == [0, 0, 32, 32]


def test_what_may_not_be_decided_together_is_decided_side_by_side() -> None:
    ready, pipeline, all_there = Ready({}), Deciding(trusted=False), threading.Barrier(3)

    def decide() -> int:
        taken = ready.take()
        all_there.wait(20)
        return len(taken)

    with threads(ready, 3) as pool:
        found = [pool.submit(decide) for _ in range(3)]
        waiting(ready, 3)
        with ready._changed:
            for _ in range(3):
                ready.put(job(pipeline))
        assert [one.result(20) for one in found] == [1, 1, 1]


def test_what_is_more_than_a_call_has_or_of_another_pipeline_is_left_to_the_next_thread() -> None:
    ready, one, other = Ready({}), Deciding(), Deciding()
    for made in (job(one, TOGETHER - 1), job(other), job(one), job(one)):
        ready.put(made)
    ready.close()
    assert [[each.pipeline for each in ready.take()] for _ in range(3)] == [[one, one], [other], [one]]


def test_who_came_by_itself_leaves_nobody_asleep() -> None:
    ready, pipeline = Ready({}), Deciding()
    ready.put(job(pipeline))  # which nobody was there to be woken for
    assert len(ready.take()) == 1
    with threads(ready, 1) as pool:
        for _ in range(2):
            found = pool.submit(ready.take)
            waiting(ready, 1)
            ready.put(job(pipeline))
            assert len(found.result(20)) == 1

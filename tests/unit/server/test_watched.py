"""Threads that must get somewhere: how long they may be at one thing, how long they may wait, and that they hold nothing of what is done."""

from __future__ import annotations

import threading
import weakref
from queue import Queue

import pytest

from moderation.server.watched import STALLED, Each, Watched
from tests.unit.server.test_batcher import until


class Thing:
    """Something to do."""


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_who_is_at_one_thing_for_too_long_is_stuck_and_who_waits_never(seconds: float) -> None:
    now, go, things, done = [0.0], threading.Semaphore(0), Queue[Thing | None](), list[int]()

    def do(_: Thing) -> None:
        done.append(1)
        assert go.acquire(timeout=20)

    one = Each("one", things.get, do, seconds=seconds, clock=lambda: now[0])
    one.start()
    now[0] += 10_000
    assert not one.stuck
    for number in (1, 2):
        things.put(Thing())
        until(lambda expected=number: len(done) == expected)  # type: ignore[misc]
        now[0] += seconds + STALLED
        assert not one.stuck
        now[0] += 1
        assert one.stuck
        go.release()
        until(lambda: not one.stuck)
    things.put(None)
    one.join(20)
    assert one.stuck  # as it has ended


def test_each_thing_that_a_thread_tells_of_has_its_own_time() -> None:
    now, go = [0.0], threading.Event()
    one = Watched("one", lambda: go.wait(20), clock=lambda: now[0])
    one.start()
    for seconds in (5.0, 50.0, 0.0):
        one.begins(seconds)
        now[0] += seconds + STALLED
        assert not one.stuck
    now[0] += 1
    assert one.stuck
    one.rests()
    assert not one.stuck
    go.set()
    one.join(20)


def test_nothing_is_held_of_what_is_done() -> None:
    things, done = Queue[Thing | None](), threading.Event()
    one = Each("one", things.get, lambda _: done.set())
    one.start()
    thing = Thing()
    told = weakref.ref(thing)
    things.put(thing)
    del thing
    assert done.wait(20)
    until(lambda: told() is None)
    things.put(None)
    one.join(20)

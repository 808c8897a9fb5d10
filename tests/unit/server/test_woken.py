"""What threads finish, as the loop hears of it: all that is there at once, whoever leaves or fails, and in one loop after another."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import deque
from concurrent.futures import Future

import pytest

from moderation.server.woken import Woken


def finish(*futures: Future[int]) -> None:
    """In a thread of its own, while the loop waits for nothing else."""

    def run() -> None:
        for number, one in enumerate(futures):
            one.set_result(number)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


async def begun(woken: Woken, *futures: Future[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.ensure_future(woken.result(one, 20)) for one in futures]
    await asyncio.sleep(0)
    return tasks


def test_a_batch_of_answers_wakes_the_loop_once() -> None:
    woken, futures, calls = Woken(), [Future[int]() for _ in range(32)], list[object]()

    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        wakes = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (calls.append(args), wakes(*args))[1]  # type: ignore[method-assign, assignment, return-value]
        found = []
        for half in (futures[:16], futures[16:]):
            tasks = await begun(woken, *half)
            finish(*half)
            found += await asyncio.gather(*tasks)
        return found

    assert asyncio.run(run()) == [*range(16)] * 2
    assert len(calls) == 2


def test_what_ends_right_after_the_loop_looked_wakes_it_again() -> None:
    woken, first, second = Woken(), Future[int](), Future[int]()

    class Looked(deque[asyncio.Future[None]]):
        def __bool__(self) -> bool:
            there = len(self) > 0
            if not there and not second.done():
                finish(second)
            return there

    async def run() -> list[int]:
        tasks = await begun(woken, first, second)
        woken._done = Looked()
        finish(first)
        async with asyncio.timeout(5):
            return await asyncio.gather(*tasks)

    assert asyncio.run(run()) == [0, 0]


def test_what_is_there_is_not_waited_for_and_errors_are_raised() -> None:
    there, failed, woken = Future[int](), Future[int](), Woken()
    there.set_result(5)
    failed.set_exception(KeyError("a"))

    async def run() -> None:
        with pytest.raises(KeyError):
            await woken.result(failed, 20)
        assert await woken.result(there, 20) == 5

    with pytest.raises(StopIteration):  # it ran to its end, and never waited
        run().send(None)


def test_who_leaves_keeps_nobody_from_being_answered() -> None:
    woken, futures = Woken(), [Future[int]() for _ in range(3)]

    async def run() -> list[int]:
        gone, *others = await begun(woken, *futures)
        gone.cancel()
        await asyncio.sleep(0)
        assert not futures[0].cancelled()
        finish(*futures)
        return await asyncio.gather(*others)

    assert asyncio.run(run()) == [1, 2]


def test_who_has_waited_for_so_long_waits_no_more_and_what_comes_later_is_told_to_nobody() -> None:
    woken, late, soon, timers = Woken(), Future[int](), Future[int](), list[asyncio.TimerHandle]()

    async def run() -> int:
        loop = asyncio.get_running_loop()
        later = loop.call_later
        loop.call_later = lambda *args: (timers.append(later(*args)), timers[-1])[1]  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(TimeoutError):
            await woken.result(late, 0.01)
        (task,) = await begun(woken, soon)
        finish(late, soon)
        found = await task
        assert [one.cancelled() for one in timers] == [True, True]
        return found

    assert asyncio.run(asyncio.wait_for(run(), 20)) == 1


def test_what_ends_after_its_loop_is_told_to_nobody_and_the_next_loop_is_told_of_its_own() -> None:
    woken = Woken()

    async def leave(late: Future[int]) -> None:
        (await begun(woken, late))[0].cancel()

    async def run(late: Future[int]) -> int:
        (task,) = await begun(woken, soon := Future[int]())
        finish(soon, late)
        return await task

    for _ in range(2):
        asyncio.run(leave(late := Future[int]()))
        finish(lost := Future[int]())
        assert asyncio.run(run(late)) == lost.result() == 0


def test_what_was_awaited_is_let_go_of_without_the_collector() -> None:
    class Answer(int):
        pass

    woken = Woken()

    async def run() -> weakref.ref[Future[int]]:
        future = Future[int]()
        (task,) = await begun(woken, future)
        future.set_result(Answer())
        await task
        return weakref.ref(future)

    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()

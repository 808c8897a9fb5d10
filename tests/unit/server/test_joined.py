"""What is written in one turn of the loop goes out as one; closing loses nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from moderation.server.joined import Joined


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0


def joined(use: Any) -> Wire:
    wire = Wire()

    async def run() -> None:
        await use(Joined(wire, asyncio.get_running_loop(), patience=0.01))  # type: ignore[arg-type]

    asyncio.run(run())
    return wire


def test_what_is_written_in_one_turn_goes_out_as_one_in_order() -> None:
    async def use(one: Any) -> None:
        for data in (b"head ", b"body"):
            one.write(data)
        await asyncio.sleep(0)
        one.write(b"next")
        await asyncio.sleep(0)

    assert joined(use).sent == [b"head body", b"next"]


def test_a_body_waits_for_nothing_that_the_turn_does_after_it() -> None:
    async def use(one: Any) -> None:
        one.write(b"head ")
        one.write(b"body")
        assert one._transport.sent == [b"head body"]
        for data in (b"more ", b"and ", b"more"):  # as of a long answer
            one.write(data)
        await asyncio.sleep(0)

    assert joined(use).sent == [b"head body", b"more and ", b"more"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_sends_what_is_held_first_and_nothing_after(how: str) -> None:
    async def use(one: Any) -> None:
        one.write(b"last words")
        getattr(one, how)()
        await asyncio.sleep(0)

    wire = joined(use)
    assert (wire.sent, wire.closed) == ([b"last words"], True)


def test_what_is_held_for_who_is_gone_by_then_is_dropped() -> None:
    wire, wrong = Wire(), []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, told: wrong.append(told))
        Joined(wire, loop, patience=0.01).write(b"nobody's")  # type: ignore[arg-type]
        wire.close()
        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert (wire.sent, wrong) == ([], [])


@pytest.mark.parametrize("left", [0, 9])
def test_who_does_not_read_the_rest_has_its_time_for_it(left: int) -> None:
    class Unread(Wire):
        aborted = False

        def get_write_buffer_size(self) -> int:
            return left

        def abort(self) -> None:
            self.aborted = True

    wire = Unread()

    async def run() -> None:
        Joined(wire, asyncio.get_running_loop(), patience=0.01).close()  # type: ignore[arg-type]
        assert (wire.closed, wire.aborted) == (True, False)
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert wire.aborted == bool(left)


def test_all_else_is_the_transports_own() -> None:
    async def use(one: Any) -> None:
        assert one.closed is False

    assert not joined(use).closed

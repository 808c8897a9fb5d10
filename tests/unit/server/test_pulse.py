"""A server that is behind with answering refuses at the door what it could not answer in time, and forgets it once it is not."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from moderation.sections import ServeSettings
from moderation.server.edge import Edge
from moderation.server.pulse import Pulse
from moderation.telemetry import REQUEST


def told(*turns: tuple[float, float]) -> list[float]:
    """What is told at the begin of turns that take so many seconds, each with a pause behind it, and at the end."""
    now = 0.0

    async def run() -> list[float]:
        nonlocal now
        pulse, found = Pulse(lambda: now), []
        for seconds, pause in turns:
            found.append(pulse.behind())
            now += seconds
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            now += pause
        return [*found, pulse.behind()]

    return asyncio.run(run())


def test_turns_that_take_long_are_told_of_from_the_second_on_and_forgotten() -> None:
    turns = [(seconds, 0.0) for seconds in (0.0, 0.2, 0.3, 0.2, 0.0, 0.0)]
    assert told(*turns) == pytest.approx([0.0, 0.0, 0.0, 0.2, 0.2, 0.0, 0.0])


def test_what_was_long_ago_says_nothing() -> None:
    assert told((0.2, 0.0), (0.2, 0.6)) == pytest.approx([0.0, 0.0, 0.2])
    assert told((0.2, 0.0), (0.2, 0.8)) == [0.0, 0.0, 0.0]
    assert told((0.2, 0.8), (0.2, 0.0)) == [0.0, 0.0, 0.0]


def test_what_no_handler_caught_is_logged_with_the_id_of_its_request(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: Any) -> None:
        raise KeyError("a secret")

    async def nothing(*_: Any) -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "path": "/v1/models", "headers": [(b"x-request-id", b"mine")]}
    with pytest.raises(KeyError):
        asyncio.run(Edge(app, ServeSettings.model_validate({"locks": ("x",)}))(scope, nothing, nothing))
    (one,) = caplog.records
    assert (one.getMessage(), vars(one)["told"][REQUEST]) == ("not answered: KeyError", "mine")


def test_what_has_waited_too_long_is_refused_unread_and_less_is_counted() -> None:
    """A deadline of a second, of which 0.3 are gone, is refused; of one of five seconds the app is told what is left."""
    left: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        left.append(scope["state"]["deadline"] - time.monotonic())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask(edge: Any, seconds: float) -> tuple[int, bool, dict[bytes, bytes]]:
        read, sent = [], []
        gone = asyncio.Event()

        async def receive() -> Any:
            if read:
                await gone.wait()
            read.append(1)
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"x-deadline-ms", b"%d" % (1000 * seconds))]
        await edge({"type": "http", "path": "/v1/moderations", "headers": headers}, receive, send)
        return sent[0]["status"], bool(read), dict(sent[0]["headers"])

    async def run() -> list[tuple[int, bool, dict[bytes, bytes]]]:
        edge = Edge(app, ServeSettings.model_validate({"locks": ("x",)}))
        for _ in range(2):
            first = asyncio.ensure_future(ask(edge, 1.0))
            asyncio.get_running_loop().call_soon(time.sleep, 0.3)
            found = [await first]
        found += [await ask(edge, 1.0)]
        found += [await ask(edge, 5.0)]
        await asyncio.sleep(1.0)
        return [*found, await ask(edge, 1.0)]

    first, late, patient, calm = asyncio.run(run())
    assert [one[:2] for one in (first, late, patient, calm)] == [(200, True), (429, False), (200, True), (200, True)]
    assert 0 < int(late[2][b"retry-after-ms"]) <= 1000 * int(late[2][b"retry-after"])
    assert 4.5 < left[2] < 4.8
    assert left[3] > 0.5

"""What a body costs while its answer is waited for: what was read of it, once, and not the ways that it took."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import tracemalloc
from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest

from moderation.sections import ServeSettings
from moderation.server.direct import Direct
from moderation.server.edge import App, Edge
from moderation.server.errors import ApiError

SIZE = 3_000_000  # of the picture
URL = "data:image/png;base64," + base64.b64encode(bytes(SIZE)).decode()
PICTURE = {"type": "image_url", "image_url": {"url": URL}}


@pytest.mark.parametrize(
    ("route", "given"),
    [
        ("moderations", {"input": [PICTURE]}),
        ("moderations", {"input": ["x" * (SIZE // 30)] * 30}),
        ("decisions", {"items": [{"image": URL.partition(",")[2]}]}),
        ("embeddings", {"input": [PICTURE]}),
        ("classify", {"texts": ["a cat"], "images": [URL]}),
    ],
)
def test_a_body_is_held_once_while_it_waits(route: str, given: dict[str, Any]) -> None:
    held: list[int] = []
    settings = ServeSettings.model_validate({"locks": ("x.lock.json",)})

    def wait(*_: Any, **__: Any) -> None:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        raise RuntimeError

    batcher = SimpleNamespace(embedders={"default": None}, ask=wait)
    served: Any = SimpleNamespace(service=SimpleNamespace(decide=wait, batcher=batcher), settings=settings)
    edge = Edge(Direct(None, served), settings)  # type: ignore[arg-type]

    body = json.dumps(given).encode()
    pieces = (body[at : at + 65_536] for at in range(0, len(body) + 65_536, 65_536))

    async def receive() -> MutableMapping[str, Any]:
        piece = next(pieces, None)
        if piece is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    async def send(_: Any) -> None:
        pass

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "path": f"/v1/{route}", "method": "POST", "headers": headers}
    tracemalloc.start()
    try:
        asyncio.run(edge(scope, receive, send))
    finally:
        tracemalloc.stop()
    assert 0.9 * SIZE < held[0] < 1.1 * len(body)


@pytest.mark.parametrize(("seconds", "watched"), [(0.0, 0), (0.05, 1)])
def test_only_who_waits_for_an_answer_is_watched(seconds: float, watched: int) -> None:
    """A refusal is there at once, and comes in thousands."""
    settings = ServeSettings.model_validate({"locks": ("x.lock.json",)})
    made: list[str] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(seconds)

    async def receive() -> MutableMapping[str, Any]:
        if "watch" in made:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": b"", "more_body": False}

    def task(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
        made.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **more)

    async def run() -> None:
        asyncio.get_running_loop().set_task_factory(task)  # type: ignore[arg-type]
        scope = {"type": "http", "path": "/v1/moderations", "method": "POST", "headers": []}
        await Edge(answer, settings)(scope, receive, lambda _: asyncio.sleep(0))
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nobody is watched who was answered

    asyncio.run(run())
    assert made.count("watch") == watched


def test_who_goes_away_ends_its_answering_and_nothing_that_comes_after_it() -> None:
    settings = ServeSettings.model_validate({"locks": ("x.lock.json",)})
    said: list[str] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    async def receive() -> MutableMapping[str, Any]:
        said.append("asked")
        kind = "http.request" if said == ["asked"] else "http.disconnect"
        return {"type": kind, "body": b"", "more_body": False}

    async def run() -> int:
        scope = {"type": "http", "path": "/v1/moderations", "method": "POST", "headers": []}
        await Edge(answer, settings)(scope, receive, lambda _: asyncio.sleep(0))
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(run()) == 0
    assert said == ["asked", "asked", "cancelled"]


def test_who_goes_away_with_its_answer_ends_nothing_that_is_still_to_be_done() -> None:
    settings = ServeSettings.model_validate({"locks": ("x.lock.json",)})
    said: list[str] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.01)  # by now somebody watches
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})
        await asyncio.sleep(0.01)
        said.append("done")

    async def run() -> None:
        sent = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            if not said:
                said.append("asked")
                return {"type": "http.request", "body": b"", "more_body": False}
            await sent.wait()
            said.append("gone")
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                sent.set()

        scope = {"type": "http", "path": "/v1/moderations", "method": "POST", "headers": []}
        await Edge(answer, settings)(scope, receive, send)

    asyncio.run(run())
    assert said == ["asked", "gone", "done"]


def statuses(
    app: App, *pieces: bytes, keys: int = 0, length: int = 0, whole: bool = True, **settings: Any
) -> list[int]:
    """What is answered to a body that comes in pieces, and after which the caller is gone, `whole` or not."""
    known = {str(one): {"sha256": hashlib.sha256(b"%d" % one).hexdigest()} for one in range(keys)}
    own = ServeSettings.model_validate({"locks": ("x.lock.json",), "keys": known, **settings})
    come = [
        {"type": "http.request", "body": one, "more_body": not whole or at < len(pieces)}
        for at, one in enumerate(pieces, 1)
    ]
    given, sent = iter([*come, {"type": "http.disconnect"}]), list[int]()

    async def receive() -> MutableMapping[str, Any]:
        return next(given)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.extend([message["status"]] if "status" in message else [])

    headers = [(b"content-length", b"%d" % length), (b"authorization", b"Bearer 0")]
    scope = {"type": "http", "path": "/v1/moderations", "method": "POST", "headers": headers}
    asyncio.run(Edge(app, own)(scope, receive, send))
    return sent


async def good(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_body_may_be_as_large_as_any_whoever_else_has_a_key() -> None:
    assert statuses(good, *[bytes(50)] * 19, keys=2, body_bytes=950, bodies_bytes=1000) == [200]
    assert statuses(good, bytes(950), keys=2, length=950, body_bytes=950, bodies_bytes=1000) == [200]
    assert statuses(good, *[bytes(50)] * 19, b"1", body_bytes=950) == [413]
    assert statuses(good, length=951, body_bytes=950) == [413]


def test_half_a_body_is_never_answered() -> None:
    assert statuses(good, b"{}", whole=False) == []


def test_what_goes_wrong_within_an_answer_gives_no_second_one() -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await good(scope, receive, send)
        raise ApiError(503, "stopping", "too late")

    assert statuses(breaks, b"{}") == [200]


def test_of_two_headers_of_a_name_the_first_counts() -> None:
    settings = ServeSettings.model_validate({"locks": ("x.lock.json",)})
    had: list[float] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        had.append(scope["state"]["whole"])

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"x-deadline-ms", b"1000"), (b"x-deadline-ms", b"5000")]
    scope = {"type": "http", "path": "/v1/moderations", "method": "POST", "headers": headers}
    asyncio.run(Edge(answer, settings)(scope, receive, lambda _: asyncio.sleep(0)))
    assert had == [1.0]

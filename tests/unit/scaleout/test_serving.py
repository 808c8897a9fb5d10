"""The app on Serve, what can be told of it without a cluster: settings that are refused, one request id, and what is asked of a replica's own app."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import ClusterError, SettingsError
from moderation.scaleout.serving import Replica, _asked, _Together, application


@pytest.mark.parametrize(
    ("text", "message"),
    [('[serve]\nlocks = ["a.lock.json"]\n', "serve.keys: none"), ("", r"needs the section \[serve\]")],
)
def test_settings_that_open_the_app_to_everybody_or_have_none_are_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "serve.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        application(tmp_path / "serve.toml")


async def app(scope: Any, receive: Any, send: Any) -> None:
    gone = asyncio.ensure_future(receive())
    await asyncio.sleep(0)
    assert not gone.done()  # who asks stays until it is answered
    gone.cancel()
    headers = [(b"x-request-id", b"ours"), (b"x-more", scope["path"].encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    await send({"type": "http.response.body", "body": b" and half"})


def test_a_replica_asks_its_own_app() -> None:
    assert asyncio.run(_asked(app, "/healthz")) == (503, b"half and half")


def test_a_replica_that_gets_nowhere_says_what_is_stuck() -> None:
    async def stalled(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b'{"state":"stalled: readers"}'})

    replica = Replica.__new__(Replica)
    replica._own = stalled
    with pytest.raises(ClusterError, match="a replica is stalled: readers"):
        asyncio.run(replica.check_health())


def test_the_request_is_named_once_by_serve() -> None:
    sent: list[Any] = []

    async def ask() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await _Together(app)({"type": "http", "path": "/v1/policies"}, asyncio.Event().wait, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert sent[0]["headers"] == [(b"x-more", b"/v1/policies")]
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.body", "http.response.body"]


def test_serve_is_told_that_the_app_is_ready_and_that_it_is_over() -> None:
    said: list[str] = []

    async def live() -> None:
        async def receive() -> Any:
            said.append("asked")
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            said.append(message["type"])

        await _Together(app)({"type": "lifespan"}, receive, send)

    asyncio.run(live())
    assert said == ["asked", "lifespan.startup.complete", "asked", "lifespan.shutdown.complete"]

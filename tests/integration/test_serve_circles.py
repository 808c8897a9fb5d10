"""What is asked and answered holds itself in no circle: the collector of garbage comes seldom, and till then all of it would stay."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from moderation.policy.lock import Lock
from moderation.server.errors import ApiError
from moderation.server.job import Job
from moderation.server.protocol import BoundedProtocol
from moderation.server.ticket import Ticket
from tests.integration.test_serve import ask
from tests.served import serving
from tests.unit.server.test_batcher import Device, until


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left(*kinds: type) -> list[object]:
    return [one for one in gc.get_objects() if type(one) in kinds]


def test_a_refusal_is_gone_once_it_is_told() -> None:
    picture = {"input": "data:image/png;base64,bm9uZQ==", "modality": "image"}
    with serving() as place:
        wrong = [
            ask(place, "/v1/moderations", b"{"),
            ask(place, "/v1/moderations", {"input": "0.1", "model": "another"}),
            ask(place, "/v1/moderations", {"input": "0.1", "more": 1}),
            ask(place, "/v1/embeddings", picture),
        ]
        assert [status for status, _, _ in wrong] == [400, 404, 400, 400]
        until(lambda: not left(ApiError, BoundedProtocol))


@pytest.mark.parametrize("route", ["moderations", "embeddings"])
def test_who_went_away_is_forgotten(route: str) -> None:
    device = Device()
    with serving(encoder=device) as place:
        waiting = lambda: place.service.batcher.waiting[0]  # noqa: E731
        device.go.clear()
        host, port = urlsplit(place.url).netloc.split(":")
        # The first is encoded for nobody, the second not at all.
        for text, asked in (("0.2", lambda: bool(device.batches)), ("0.3", lambda: waiting() == 1)):
            body = json.dumps({"input": text}).encode()
            with socket.create_connection((host, int(port))) as raw:
                head = "POST /v1/%s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                raw.sendall((head % (route, len(body))).encode() + body)
                until(asked)
        until(lambda: waiting() == 0)
        device.go.set()
        assert ask(place, "/v1/moderations", {"input": "0.4"})[0] == 200  # nothing of it is held by a thread that waits
        until(lambda: not left(Job, Ticket, BoundedProtocol))


def test_a_builds_revision_is_not_worked_out_for_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as place:
        told = ask(place, "/v1/policies")[2]["data"]
        assert {one["revision"] for one in told} == {one.lock.revision for one in place.pipeline.running.policies}
        monkeypatch.setattr(Lock, "revision", property(lambda _: 1 / 0))  # it writes the whole lock
        assert ask(place, "/v1/policies")[2]["data"] == told
        assert ask(place, "/metrics")[0] == 200

"""What every request passes before the app, over HTTP: ids, deadlines, keys that stand twice, bodies that say that they are too large."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from moderation.encoder.base import Encoded
from moderation.telemetry import REQUEST, JsonLines
from tests.served import Place, serving
from tests.unit.server.test_batcher import Device, until


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving(keys={"shop": {"sha256": hashlib.sha256(b"mod-shop").hexdigest()}}) as one:
        yield one


KEY = ("authorization", "Bearer mod-shop")
JSON = ("content-type", "application/json")
GOOD = b'{"input": "0.1"}'


def ask(
    place: Place, *headers: tuple[str, str], body: bytes = GOOD, length: int | None = None
) -> tuple[int, dict[str, str], Any]:
    """The answer to these headers, in their order, and a body that is said to have `length` bytes."""
    with closing(http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)) as connection:
        connection.putrequest("POST", "/v1/moderations")
        for name, value in (*headers, JSON, ("content-length", str(len(body) if length is None else length))):
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)


def test_a_request_keeps_its_id_if_it_is_one_and_else_gets_one(place: Place) -> None:
    for given in ("a.b-C_9", "x" * 64):
        assert ask(place, KEY, ("x-request-id", given))[1]["x-request-id"] == given
    made = [ask(place, KEY, *more)[1]["x-request-id"] for more in ((), (("x-request-id", "two words"),))]
    made += [ask(place, KEY, ("x-request-id", "x" * 65))[1]["x-request-id"], ask(place)[1]["x-request-id"]]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert len(set(made)) == 4


def test_what_failed_is_found_in_the_log_by_the_id_that_its_caller_was_told(caplog: pytest.LogCaptureFixture) -> None:
    class Dead(Device):
        dead = False

        def encode_text(self, texts: Sequence[str]) -> Encoded:
            if self.dead:
                raise RuntimeError("0.7")
            return super().encode_text(texts)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("0.7")

    with serving(encoder=(device := Dead())) as place:
        device.dead = True
        status, headers, _ = ask(place, ("x-request-id", "mine"), body=b'{"input": "0.7"}')
        assert (status, logged(caplog)) == (503, [("answered with 503: EncoderError", "mine")])
        place.service.decide = broken  # type: ignore[method-assign, assignment]
        status, headers, _ = ask(place)
        assert (status, logged(caplog)) == (500, [("answered with 500: RuntimeError", headers["x-request-id"])])
        place.service.pipeline = broken  # type: ignore[method-assign, assignment]
        with closing(http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)) as connection:
            connection.request("GET", "/v1/policies", headers={"x-request-id": "two\twords"})
            answer = connection.getresponse()
        told = answer.headers["x-request-id"]
        assert (answer.status, logged(caplog)) == (500, [("answered with 500: RuntimeError", told)])
        assert re.fullmatch("[0-9a-f]{32}", told)
        assert "0.7" not in "".join(JsonLines().format(one) for one in caplog.records)
        for body in (b"{", b'{"input": "0.1", "more": 1}', b'{"input": "0.1"}'):  # refused, and never asked twice
            ask(place, body=body, length=10**9 if body == b"{" else None)
        assert [one for one, _ in logged(caplog)] == ["answered with 500: RuntimeError"]


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was told of requests since it was asked last, each with the request's id."""
    found = [(one.getMessage(), vars(one)["told"]) for one in caplog.records if hasattr(one, "told")]
    caplog.clear()
    return [(message, told[REQUEST]) for message, told in found if REQUEST in told]


@pytest.mark.parametrize("given", ["0", "600001", "-5", "1e3", "", "9999999", "2.5"])
def test_a_deadline_is_whole_milliseconds_of_ten_minutes_at_most(place: Place, given: str) -> None:
    status, _, answer = ask(place, KEY, ("x-deadline-ms", given))
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_deadline", "x-deadline-ms")
    assert ask(place, KEY, ("x-deadline-ms", "600000"))[0] == 200


def test_of_a_header_that_stands_twice_the_first_counts(place: Place) -> None:
    other = ("authorization", "Bearer mod-other")
    assert [ask(place, *two)[0] for two in ((KEY, other), (other, KEY))] == [200, 401]


@pytest.mark.parametrize("given", ["bearer mod-shop", "BEARER   mod-shop"])
def test_a_scheme_has_no_case_and_as_many_blanks_behind_it_as_one_likes(place: Place, given: str) -> None:
    assert ask(place, ("authorization", given))[0] == 200


def test_a_body_that_is_said_to_be_too_large_is_refused_before_it_comes() -> None:
    with serving(body_bytes=1000, read_seconds=15) as place:
        began = time.monotonic()
        status, _, answer = ask(place, body=b"{", length=1001)
        assert (status, answer["error"]["code"]) == (413, "body_too_large")
        assert time.monotonic() - began < 10


def test_who_waits_for_a_device_that_hangs_is_told_so_shortly_after_its_deadline() -> None:
    device = Device()
    with serving(encoder=device) as place:
        device.go.clear()
        later = threading.Timer(5, device.go.set)
        later.start()
        began = time.monotonic()
        status, headers, answer = ask(place, ("x-deadline-ms", "300"))
        took = time.monotonic() - began
        later.cancel()
        device.go.set()
    assert (status, answer["error"]["code"]) == (429, "overloaded")
    assert int(headers["retry-after"]) >= 1
    assert 0.3 <= took < 4


def test_what_nobody_waits_for_any_more_leaves_the_queue_and_is_not_begun() -> None:
    device = Device()
    with serving(encoder=device) as place, ThreadPoolExecutor(2) as pool:
        device.go.clear()
        held = pool.submit(ask, place, ("x-deadline-ms", "60000"), body=b'{"input": "0.9"}')
        until(lambda: len(device.batches) == 1)
        late = pool.submit(ask, place, ("x-deadline-ms", "300"), body=b'{"input": "0.4"}')
        assert late.result()[0] == 429
        assert place.service.batcher.waiting[0] == 0
        device.go.set()
        assert held.result()[0] == 200
    texts: Sequence[Sequence[str]] = device.batches
    assert [list(one) for one in texts] == [["0.9"]]


OFFERS = [
    (("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAEAAEAAAAIAAAABAAMAAABk")),
    (("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")),
]


@pytest.mark.parametrize("offer", OFFERS)
def test_who_offers_another_protocol_is_answered_in_this_one(place: Place, offer: Sequence[tuple[str, str]]) -> None:
    """As Java's own client offers HTTP/2, with each request of an address without TLS."""
    status, _, answer = ask(place, KEY, *offer)
    assert (status, answer["model"]) == (200, "moderation")


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_body_that_comes_with_an_offer_is_never_read_as_a_request(place: Place, pieces: int) -> None:
    """What a proxy took for the body of one caller's request would else be asked by whoever the bytes name."""
    head = b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer mod-shop\r\ncontent-type: application/json\r\n"
    offer, inner = b"connection: upgrade\r\nupgrade: h2c\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    chunked = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    plain = b"content-length: %d\r\n\r\n%b" % (len(inner), inner)
    last = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    sent = head + offer + plain + head + offer + chunked + last
    with socket.create_connection(("127.0.0.1", urlsplit(place.url).port or 0), timeout=20) as one:
        for at in range(0, len(sent), -(-len(sent) // pieces)):
            one.sendall(sent[at : at - (-len(sent) // pieces)])
            time.sleep(0.02)
        with one.makefile("rb") as file:
            found = file.read()
    assert re.findall(rb"HTTP/1\.1 (\d+)|\"code\":\"(\w+)\"", found) == [
        (b"400", b""), (b"", b"invalid_json"), (b"400", b""), (b"", b"invalid_json"), (b"200", b""),
    ]  # fmt: skip


def test_a_tunnel_is_refused(place: Place) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(place.url).port or 0), timeout=20) as one:
        one.sendall(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        with one.makefile("rb") as file:
            found = file.read()
    assert found.startswith(b"HTTP/1.1 400")
    assert found.count(b"HTTP/1.1") == 1
    assert b"x-content-type-options: nosniff\r\n" in found  # as of any answer, though no route gave it


def test_who_compresses_its_body_is_told_not_to(place: Place) -> None:
    status, _, answer = ask(place, KEY, ("content-encoding", "gzip"), body=gzip.compress(GOOD))
    assert (status, answer["error"]["code"]) == (415, "unsupported_encoding")

"""Callers that are slow on purpose, on a real socket: heads and bodies that trickle, silence, answers that nobody reads. Each has its time, and then its place is free."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from moderation.sections import ServeSettings
from moderation.server import listen, protocol
from moderation.server.metrics import CUTS
from tests import served
from tests.served import Place, serving
from tests.unit.server.test_batcher import Device, until

SECONDS = 0.4  # that a head or a body may take here
HEAD = b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
GOOD = HEAD + b'content-length: 16\r\n\r\n{"input": "0.9"}'


@contextmanager
def raw(place: Place) -> Iterator[socket.socket]:
    host, port = urlsplit(place.url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as one:
        yield one


def rest(one: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    try:
        while piece := one.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def trickle(one: socket.socket, data: bytes, *, every: float = SECONDS / 8) -> None:
    """A byte now and then, for ever, from a thread that ends with the connection."""

    def run() -> None:
        try:
            while True:
                for at in range(len(data)):
                    one.sendall(data[at : at + 1])
                    time.sleep(every)
        except OSError:
            return

    threading.Thread(target=run, daemon=True).start()


def answer(one: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and body of the one answer that comes before the other side closes."""
    head, body = rest(one).split(b"\r\n\r\n", 1)
    return int(head.split(b" ", 2)[1]), json.loads(body)


def whole(one: socket.socket) -> bytes:
    """One answer of a connection that stays open."""
    found = one.recv(65_536)
    head, _, body = found.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        piece = one.recv(65_536)
        assert piece, "it was closed before all of it came"
        body += piece
    return head


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving(read_seconds=SECONDS) as one:
        yield one


def test_who_says_nothing_is_closed_without_a_word(place: Place) -> None:
    with raw(place) as one:
        began = time.monotonic()
        assert rest(one) == b""
        assert SECONDS * 0.9 < time.monotonic() - began < 10 * SECONDS


@pytest.mark.parametrize("start", [b"", HEAD, GOOD])
def test_a_head_that_trickles_has_its_time_first_or_later_on_a_connection(place: Place, start: bytes) -> None:
    with raw(place) as one:
        one.sendall(start)
        if start == GOOD:
            assert whole(one).startswith(b"HTTP/1.1 200")
        trickle(one, b"GET /healthz HTTP/1.1\r\nx-slow: " if start != HEAD else b"x-slow: yes\r\n")
        began = time.monotonic()
        status, told = answer(one)
        assert (status, told["error"]["code"]) == (408, "too_slow")  # type: ignore[index]
        assert time.monotonic() - began < 10 * SECONDS


def test_blank_lines_keep_no_connection_open(place: Place) -> None:
    with raw(place) as one:
        one.sendall(GOOD)
        assert whole(one).startswith(b"HTTP/1.1 200")
        trickle(one, b"\r\n")
        began = time.monotonic()
        assert rest(one) == b""
        assert time.monotonic() - began < 10 * SECONDS


def test_a_head_without_end_is_refused_before_it_is_held() -> None:
    with serving(read_seconds=20) as place, raw(place) as one:
        one.sendall(HEAD)
        line = b"x-more: " + b"y" * 8000 + b"\r\n"
        one.settimeout(0.01)
        sent = 0
        while sent < 10**7:
            try:
                one.sendall(line)
                sent += len(line)
                if one.recv(12) == b"HTTP/1.1 431":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert sent < 10 * protocol.HEAD_BYTES


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("keys", [None, {"shop": {"sha256": "0" * 64}}])
@pytest.mark.parametrize(
    ("start", "more"),
    [(b"0\r\n", b"x-more: y\r\n" * 700), (b"0\r\nx-more: ", b"y" * 8000), (b"1;", b"y" * 8000)],
    ids=["many behind the body", "a long one behind the body", "a long word of a chunk"],
)
def test_what_is_neither_head_nor_body_is_refused_before_it_is_held(keys: Any, start: bytes, more: bytes) -> None:
    """With a key or without: parsed and kept it was twenty times as large as what was sent."""
    with serving(read_seconds=20, keys=keys) as place, raw(place) as one:
        one.sendall(CHUNKED + start)
        sent = 0
        with suppress(ConnectionError):
            while sent < 10**7:
                one.sendall(more)
                sent += len(more)
        assert sent < 10**7


def test_headers_are_counted_too(place: Place) -> None:
    """A head of a few hundred kilobytes may come in one piece, and hold sixty thousand."""
    usual = GOOD.count(b"\r\n") - 2
    for more in (protocol.MOST_HEADERS - usual, protocol.MOST_HEADERS - usual + 1):
        with raw(place) as one:
            one.sendall(HEAD + b"a:\r\n" * more + GOOD.removeprefix(HEAD))
            if more + usual <= protocol.MOST_HEADERS:
                assert whole(one).startswith(b"HTTP/1.1 200")
            else:
                status, told = answer(one)
                assert (status, told["error"]["code"]) == (431, "too_many_headers")  # type: ignore[index]


def test_who_asks_for_thousands_of_things_in_one_piece_is_dropped() -> None:
    """Each is held until the one before it is answered, at fifty times its bytes."""
    device = Device()
    with serving(encoder=device) as place:
        device.go.clear()
        for more, is_closed in ((protocol.MOST_AHEAD, False), (protocol.MOST_AHEAD + 1, True)):
            with raw(place) as one:
                one.sendall(GOOD + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * more)
                one.settimeout(20 if is_closed else 1)
                if is_closed:
                    assert rest(one) == b""
                else:
                    with pytest.raises(TimeoutError):
                        one.recv(1)
        device.go.set()


def test_what_stands_behind_a_body_is_no_header(place: Place) -> None:
    head, body = CHUNKED.replace(b"content-type: application/json\r\n", b""), b'10\r\n{"input": "0.9"}\r\n'
    with raw(place) as one:
        one.sendall(CHUNKED + body + b"0\r\ncontent-type: text/plain\r\n\r\n")
        assert whole(one).startswith(b"HTTP/1.1 200")
        one.sendall(head + body + b"0\r\ncontent-type: application/json\r\n\r\n")
        assert whole(one).startswith(b"HTTP/1.1 415")


def test_a_body_may_come_in_as_small_pieces_as_it_likes() -> None:
    with serving(read_seconds=20) as place, raw(place) as one:
        text = json.dumps({"input": "0.9" + " " * 50_000}).encode()
        one.sendall(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in text) + b"0\r\n\r\n")
        assert whole(one).startswith(b"HTTP/1.1 200")


def test_heads_in_time_are_answered_though_they_come_in_pieces_and_one_after_the_other(place: Place) -> None:
    with raw(place) as one:
        for _ in range(3):
            for at in range(0, len(GOOD), 20):
                one.sendall(GOOD[at : at + 20])
                time.sleep(SECONDS / 20)
            assert whole(one).startswith(b"HTTP/1.1 200")
            time.sleep(2 * SECONDS)  # idle between requests is no slowness


def test_a_body_that_trickles_has_its_time_and_holds_nothing_then() -> None:
    with serving(read_seconds=SECONDS, bodies_bytes=1500) as place:
        with raw(place) as one:
            one.sendall(HEAD + b"content-length: 1400\r\n\r\n" + b"x" * 1300)
            trickle(one, b"x")
            began = time.monotonic()
            status = rest(one).split(b" ", 2)[1]
            assert (status, time.monotonic() - began < 10 * SECONDS) == (b"408", True)
        with raw(place) as one:
            one.sendall(HEAD + b"content-length: 1212\r\n\r\n" + b'{"input": "%s"}' % (b"y" * 1199))
            assert whole(one).startswith(b"HTTP/1.1 200")


def test_chunks_that_never_end_have_their_time(place: Place) -> None:
    with raw(place) as one:
        one.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        trickle(one, b"1\r\nx\r\n", every=SECONDS / 60)
        assert rest(one).split(b" ", 2)[1] == b"408"


def test_what_is_left_of_a_body_that_was_refused_is_not_read_for_ever() -> None:
    with serving(read_seconds=SECONDS, body_bytes=100) as place, raw(place) as one:
        one.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        trickle(one, b"78\r\n" + b"x" * 120 + b"\r\n", every=0.001)
        began = time.monotonic()
        assert rest(one).split(b" ", 2)[1] == b"413"
        assert time.monotonic() - began < 10 * SECONDS


def test_an_answer_that_nobody_reads_does_not_keep_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_UNREAD", SECONDS)
    texts = [f"{at}" for at in range(2000)]
    body = json.dumps({"items": [{"text": one} for one in texts]}).encode()
    with serving(most_items=3000) as place, raw(place) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(8):  # more than the kernel holds for a socket
            one.sendall(HEAD.replace(b"moderations", b"decisions") + b"content-length: %d\r\n\r\n" % len(body) + body)
        time.sleep(3 * SECONDS)
        until(lambda: _closed(one))
        assert cuts(place) == dict.fromkeys(CUTS, 0) | {"unread": 1}


def _closed(one: socket.socket) -> bool:
    try:
        one.sendall(b"\r\n")
    except ConnectionError:
        return True
    time.sleep(0.05)
    return False


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A request whose answer has a few hundred kilobytes, at a server whose sockets take next to nothing of it."""

    def small(own: ServeSettings) -> socket.socket:
        taken = listen.bound(own)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # as those that it accepts have it, too
        return taken

    monkeypatch.setattr(served, "bound", small)
    body = json.dumps({"input": [f"0.{at}" for at in range(1000)], "encoding_format": "float"}).encode()
    return HEAD.replace(b"moderations", b"embeddings") + b"content-length: %d\r\n\r\n" % len(body) + body


@contextmanager
def deaf(place: Place) -> Iterator[socket.socket]:
    """A caller whose socket takes next to nothing, too."""
    host, port = urlsplit(place.url).netloc.split(":")
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(20)
        one.connect((host, int(port)))
        yield one


def answered(place: Place, route: str) -> int:
    """How many requests of a route were answered."""
    with raw(place) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = rest(one).decode()
    told = [line for line in text.splitlines() if line.startswith(f'moderation_requests_total{{route="{route}"')]
    return sum(int(float(line.split()[-1])) for line in told)


def cuts(place: Place) -> dict[str, int]:
    """How many connections were cut, by why."""
    with raw(place) as one:
        return cuts_by(one)


def cuts_by(one: socket.socket) -> dict[str, int]:
    """The same, asked by this connection, which is closed then."""
    one.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    found = re.findall(r'^moderation_connections_cut_total\{reason="(\w+)"\} (\d+)', rest(one).decode(), re.MULTILINE)
    return {reason: int(count) for reason, count in found}


PROBE = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("invalid_http", b"no such thing\r\n\r\n"),
        ("headers_too_large", HEAD + b"x-more: " + b"y" * 4 * protocol.HEAD_BYTES),
        ("headers_too_large", CHUNKED + b"0\r\nx-more: " + b"y" * 4 * protocol.HEAD_BYTES),
        ("too_many_headers", HEAD + b"a:\r\n" * protocol.MOST_HEADERS + GOOD.removeprefix(HEAD)),
        ("too_many_ahead", GOOD + PROBE * (protocol.MOST_AHEAD + 1)),
        ("too_slow", HEAD),
        ("silent", b""),
    ],
    ids=["no HTTP", "large head", "large tail", "many headers", "many ahead", "slow head", "silent"],
)
def test_what_is_cut_before_any_route_is_asked_is_counted_once_by_why(reason: str, sent: bytes) -> None:
    device = Device()
    with serving(encoder=device, read_seconds=SECONDS) as place:
        device.go.clear()
        assert cuts(place) == dict.fromkeys(CUTS, 0)
        with raw(place) as one, suppress(ConnectionError):
            one.sendall(sent)
            rest(one)
        until(lambda: sum(cuts(place).values()) > 0)
        assert cuts(place) == dict.fromkeys(CUTS, 0) | {reason: 1}
        device.go.set()


def test_who_is_answered_or_refused_by_a_route_or_leaves_or_is_idle_is_not_cut(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cuts(place)
    with raw(place) as one:
        one.sendall(GOOD)
        whole(one)
        one.sendall(HEAD + b"content-length: 90\r\n\r\n{")  # too slow for its route, which says so
        assert whole(one).startswith(b"HTTP/1.1 408")
    monkeypatch.setattr(listen, "_KEPT", SECONDS)
    with serving() as other, raw(other) as one:
        one.sendall(GOOD)
        whole(one)
        assert rest(one) == b""
        assert cuts(other) == dict.fromkeys(CUTS, 0)
    assert cuts(place) == before


def test_who_asks_on_is_idle_no_more_and_what_it_asked_before_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    made, connects = list[protocol.BoundedProtocol](), protocol.BoundedProtocol.connection_made

    def made_(self: protocol.BoundedProtocol, transport: Any) -> None:
        made.append(self)
        connects(self, transport)

    monkeypatch.setattr(protocol.BoundedProtocol, "connection_made", made_)
    monkeypatch.setattr(listen, "_KEPT", 1)
    device = Device()
    with serving(encoder=device, deadline_seconds=20.0) as place, raw(place) as one:
        for _ in range(5):
            one.sendall(GOOD)
            assert whole(one).startswith(b"HTTP/1.1 200")
        device.go.clear()
        one.sendall(GOOD.replace(b"0.9", b"0.4"))
        time.sleep(1.5)  # its answer takes longer than it may be idle
        device.go.set()
        assert whole(one).startswith(b"HTTP/1.1 200")
        assert [len(connection._asked) for connection in made] == [1]


def test_who_ends_its_side_is_gone_and_gets_what_is_answered_by_then() -> None:
    """Nothing tells it from a caller who went away, whose place is freed."""
    device = Device()
    with serving(encoder=device) as place:
        for _ in range(20):  # which hangs on no chance
            with raw(place) as one:
                one.sendall(PROBE)
                one.shutdown(socket.SHUT_WR)
                assert rest(one).startswith(b"HTTP/1.1 200")
        device.go.clear()
        with raw(place) as first, raw(place) as second:
            first.sendall(GOOD)
            until(lambda: len(device.batches) == 1)
            second.sendall(GOOD.replace(b"0.9", b"0.4"))
            until(lambda: place.service.batcher.waiting[0] == 1)
            second.shutdown(socket.SHUT_WR)
            assert rest(second) == b""
            until(lambda: place.service.batcher.waiting[0] == 0)
            device.go.set()
            assert whole(first).startswith(b"HTTP/1.1 200")
        assert device.batches == [("0.9",)]


def test_of_answers_that_nobody_reads_those_are_dropped_that_wait_longest(unread: bytes) -> None:
    with serving(answers_bytes=1000) as place, deaf(place) as first, deaf(place) as second:
        first.sendall(unread)
        until(lambda: answered(place, "/v1/embeddings") == 1)
        assert not _closed(first)  # too large, but the only one
        second.sendall(unread)
        until(lambda: _closed(first))
        assert b"200 OK" in whole(second)
        assert cuts(place) == dict.fromkeys(CUTS, 0) | {"unread": 1}


def test_answers_within_the_bound_are_kept_for_who_reads_late(unread: bytes) -> None:
    with serving(answers_bytes=10**6) as place, deaf(place) as first, deaf(place) as second:
        for number, one in enumerate((first, second), start=1):
            one.sendall(unread)
            until(lambda expected=number: answered(place, "/v1/embeddings") == expected)  # type: ignore[misc]
        for one in (first, second):
            assert b"200 OK" in whole(one)


def test_who_asks_on_and_reads_nothing_is_answered_once_it_reads(unread: bytes) -> None:
    with serving() as place, deaf(place) as one:
        one.sendall(unread)
        until(lambda: answered(place, "/v1/embeddings") == 1)
        encoded = place.service.batcher.encoded
        one.sendall(GOOD.replace(b"0.9", b"-.3").replace(b"host: x", b"host: x\r\nconnection: close"))
        time.sleep(SECONDS)
        assert place.service.batcher.encoded == encoded
        assert rest(one).count(b"HTTP/1.1 200 OK") == 2


def test_who_reads_late_but_reads_is_not_dropped_for_what_it_read(
    unread: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_UNREAD", 2 * SECONDS)
    with serving() as place, deaf(place) as one:
        for _ in range(4):
            one.sendall(unread)
            time.sleep(SECONDS)
            assert b"200 OK" in whole(one)


def test_a_connection_too_many_takes_the_place_of_the_one_that_is_idle_longest() -> None:
    with serving(most_connections=3) as place, raw(place) as first, raw(place) as second, raw(place) as third:
        for one in (second, third, first):
            one.sendall(GOOD)
            assert whole(one).startswith(b"HTTP/1.1 200")
        with raw(place) as fourth:
            fourth.sendall(GOOD)
            assert whole(fourth).startswith(b"HTTP/1.1 200")
            assert rest(second) == b""
            assert cuts_by(fourth)["crowded"] == 1
            for one in (first, third):  # who asked last stays
                one.sendall(GOOD)
                assert whole(one).startswith(b"HTTP/1.1 200")


def test_small_answers_that_nobody_reads_keep_nobody_out(unread: bytes) -> None:
    with serving(most_connections=2) as place, deaf(place) as first, deaf(place) as second:
        asked = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
        for one in (first, second):
            for _ in range(60):  # more than their sockets take, and less than a server stops writing at
                one.sendall(asked)
                time.sleep(0.005)
        until(lambda: answered(place, "other") == 120)
        with raw(place) as third:
            third.sendall(GOOD)
            assert whole(third).startswith(b"HTTP/1.1 200")


def test_who_is_cut_and_reads_nothing_of_it_is_counted_once(unread: bytes) -> None:
    """Its refusal waits behind sixty others, longer than its time to send the rest of what it began."""
    with serving(read_seconds=SECONDS, keys={"shop": {"sha256": "0" * 64}}) as place, deaf(place) as one:
        for _ in range(60):  # as above
            one.sendall(CHUNKED + b"0\r\n\r\n")
            time.sleep(0.005)
        one.sendall(CHUNKED)
        until(lambda: answered(place, "/v1/moderations") == 61)
        one.sendall(b"no such size\r\n")
        time.sleep(3 * SECONDS)
        assert cuts(place) == dict.fromkeys(CUTS, 0) | {"invalid_http": 1}


@pytest.mark.parametrize("last", ["keep-alive", "close"])
def test_small_answers_that_nobody_reads_keep_no_connection_that_is_idle_or_closing(
    last: str, unread: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, lose = list[int](), protocol.BoundedProtocol.connection_lost

    def ended(self: protocol.BoundedProtocol, error: Exception | None) -> None:
        lost.append(self.client[1] if self.client else 0)
        lose(self, error)

    monkeypatch.setattr(protocol.BoundedProtocol, "connection_lost", ended)
    monkeypatch.setattr(listen, "_KEPT", 1 if last == "keep-alive" else 60)
    monkeypatch.setattr(protocol, "_UNREAD", 60.0 if last == "keep-alive" else 1.0)
    with serving() as place, deaf(place) as one:
        for at in range(60):  # as above
            kept = last if at == 59 else "keep-alive"
            one.sendall(f"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: {kept}\r\n\r\n".encode())
            time.sleep(0.005)
        until(lambda: answered(place, "other") == 60)
        assert one.getsockname()[1] not in lost
        until(lambda: one.getsockname()[1] in lost)


def test_where_all_connections_are_in_work_one_more_is_told_to_come_again() -> None:
    device = Device()
    with serving(encoder=device, most_connections=2) as place, raw(place) as first, raw(place) as second:
        device.go.clear()
        for number, one in enumerate((first, second)):
            one.sendall(GOOD.replace(b"0.9", b"0.%d" % (number + 1)))
        until(lambda: len(place.service.batcher._waiting) == 2)
        with raw(place) as third, raw(place) as probe:
            time.sleep(SECONDS / 4)
            third.sendall(GOOD)
            found = rest(third)
            assert found.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after-ms: 1000\r\n" in found
            assert json.loads(found.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "too_many_connections"
            probe.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert whole(probe).startswith(b"HTTP/1.1 200")
        device.go.set()
        for one in (first, second):
            assert whole(one).startswith(b"HTTP/1.1 200")
        with raw(place) as fourth:
            fourth.sendall(GOOD)
            assert whole(fourth).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [GOOD, GOOD[:-3]], ids=["waits for the device", "waits for its body"])
def test_what_outlasts_the_patience_of_a_server_that_ends_is_told_so(
    sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listen, "_PATIENCE", SECONDS)
    device = Device()
    with socket.socket() as one, ThreadPoolExecutor(1) as pool:
        with serving(encoder=device, read_seconds=30) as place:
            device.go.clear()
            host, port = urlsplit(place.url).netloc.split(":")
            one.settimeout(20)
            one.connect((host, int(port)))
            one.sendall(sent.replace(b"host: x", b"host: x\r\nx-deadline-ms: 60000"))
            until(lambda: bool(device.batches) or sent != GOOD)
            time.sleep(0.1)
            answering = pool.submit(answer, one)
            answering.add_done_callback(lambda _: device.go.set())
        status, told = answering.result()
    assert (status, told["error"]["code"]) == (503, "stopping")  # type: ignore[index]
    assert "Traceback" not in caplog.text
    assert "ASGI" not in caplog.text

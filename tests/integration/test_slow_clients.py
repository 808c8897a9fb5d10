"""Callers that are slow on purpose, on a real socket: heads and bodies that trickle, silence, answers that nobody reads. Each has its time, and then its place is free."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from moderation.server import protocol
from tests.served import Place, serving
from tests.unit.server.test_batcher import until

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
        body += one.recv(65_536)
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


def _closed(one: socket.socket) -> bool:
    try:
        one.sendall(b"\r\n")
    except ConnectionError:
        return True
    time.sleep(0.05)
    return False

"""A true web server on this machine, with or without TLS, that takes decisions by POST, answers as a test tells it, and remembers what arrived."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fetcher.origin import listening


@dataclass(frozen=True)
class Request:
    """What arrived, on which of the connections, and when."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    time: float

    @property
    def told(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


Reply = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """Where it listens, what it answers to each request, and what arrived."""

    port: int
    answers: Callable[[Request], Reply] = lambda _: status(204)
    arrived: list[Request] = field(default_factory=list)
    connections: int = 0


def status(code: int, body: bytes = b"", **headers: str) -> Reply:
    """An answer with this status, these headers (dashes as underscores), and a body."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def closes(handler: BaseHTTPRequestHandler) -> None:
    """A good answer, after which the connection is closed without a word."""
    status(204)(handler)
    handler.close_connection = True


def hangs(seconds: float) -> Reply:
    """No answer for so long, then a good one."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        status(204)(handler)

    return reply


def resets(handler: BaseHTTPRequestHandler) -> None:
    """The connection is reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def drips(handler: BaseHTTPRequestHandler) -> None:
    """An answer that comes byte by byte, for ever."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        handler.wfile.write(b"X: 1\r\n")
        time.sleep(0.05)


def floods(handler: BaseHTTPRequestHandler) -> None:
    """A good answer with a body that has no end."""
    handler.close_connection = True
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(1000):
        handler.wfile.write(b"x" * 1_000_000)


def babbles(handler: BaseHTTPRequestHandler) -> None:
    """No HTTP at all."""
    handler.close_connection = True
    handler.wfile.write(b"220 mail.example.com ESMTP\r\n")


@contextmanager
def receiver(*, tls: bool = False, port: int = 0) -> Iterator[Receiver]:
    """A receiver on this port, or one of its own."""
    with listening(_Handler, tls=tls, port=port) as server:
        server.receiver = Receiver(server.server_address[1])  # type: ignore[attr-defined]
        yield server.receiver  # type: ignore[attr-defined]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        found: Receiver = self.server.receiver  # type: ignore[attr-defined]
        found.connections += 1
        self._connection = found.connections

    def do_POST(self) -> None:
        found: Receiver = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, dict(self.headers), body, self._connection, time.monotonic())
        reply = found.answers(request)
        found.arrived.append(request)
        reply(self)

    def log_message(self, *_: object) -> None:
        pass

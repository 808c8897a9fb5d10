"""A true web server on this machine, with or without TLS, that answers as a test tells it and remembers who asked for what.

`ca.pem` is an authority of nobody (its key was thrown away), `server.pem` a key and a certificate of it for cdn.test, *.cdn.test and
localhost; made with openssl, for a hundred years.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
CA = str(HERE / "ca.pem")
PNG = b"\x89PNG\r\n\x1a\n-content"
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Origin:
    """Where it listens, the answers by path (else PNG), and the requests: path and headers."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)


def sends(
    content: bytes = PNG, *, status: int = 200, length: int | None = -1, headers: Mapping[str, str] | None = None
) -> Answer:
    """An answer with this content; `length` is what it says of it: -1 the truth, None nothing."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if length is not None:
            handler.send_header("Content-Length", str(len(content) if length == -1 else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirects(location: str, status: int = 302) -> Answer:
    """An answer that sends elsewhere."""
    return sends(b"", status=status, headers={"Location": location})


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, the last for ever."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


@contextmanager
def origin(*, tls: bool = False) -> Iterator[Origin]:
    """A server on a port of its own."""
    with listening(_Handler, tls=tls) as server:
        server.origin = Origin(server.server_address[1])  # type: ignore[attr-defined]
        yield server.origin  # type: ignore[attr-defined]


@contextmanager
def listening(
    handler: type[BaseHTTPRequestHandler], *, tls: bool = False, port: int = 0
) -> Iterator[ThreadingHTTPServer]:
    """A server of this handler, on this port or one of its own, until this is closed."""
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(HERE / "server.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients here leave as they like
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found: Origin = self.server.origin  # type: ignore[attr-defined]
        found.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        found.answers.get(self.path, sends())(self)

    def log_message(self, *_: object) -> None:
        pass

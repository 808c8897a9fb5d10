"""What a worker answers over HTTP: /metrics, /healthz (does it still get anywhere) and /readyz (does it work). Nothing of any item."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from moderation.errors import ExitCode, StreamError
from moderation.sections import ProbeSettings

JSON = "application/json"
_PATIENCE = 5.0  # seconds for one request to arrive


class Health:
    """How a worker is, told in one word. It starts, works, and stops; it is alive while it makes progress.

    `limit` is how many seconds may pass without progress; starting has no limit of its own.
    """

    def __init__(self, *, limit: float, stopping: Callable[[], bool]) -> None:
        self._limit, self._stopping = limit, stopping
        self._since: Callable[[], float] | None = None
        self._joined: Callable[[], bool] = bool

    def started(self, *, since_progress: Callable[[], float], joined: Callable[[], bool]) -> None:
        """From now on the worker is asked: seconds since its last progress, and whether its group has given it a place."""
        self._since, self._joined = since_progress, joined

    @property
    def alive(self) -> bool:
        """Whether it should be left running."""
        return self._since is None or self._since() < self._limit

    @property
    def state(self) -> str:
        """`starting`, `joining`, `working`, `stalled` or `stopping`."""
        if self._stopping():
            return "stopping"
        if self._since is None:
            return "starting"
        if not self.alive:
            return "stalled"
        return "working" if self._joined() else "joining"


@contextmanager
def serve(settings: ProbeSettings, registry: CollectorRegistry, health: Health) -> Iterator[int]:
    """Answer until this is closed; gives the port. Raises StreamError where the port is taken."""

    class Handler(_Handler):
        answers = staticmethod(lambda path: _answer(path, registry, health))

    try:
        server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    except OSError as error:
        message = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        raise StreamError(message, exit_code=ExitCode.UNAVAILABLE) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="probe", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Answer = tuple[int, str, bytes]


def _answer(path: str, registry: CollectorRegistry, health: Health) -> Answer:
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
    if path in {"/healthz", "/readyz"}:
        state = health.state
        good = health.alive if path == "/healthz" else state == "working"
        return 200 if good else 503, JSON, json.dumps({"state": state}).encode() + b"\n"
    return 404, JSON, b'{"state": "unknown path"}\n'


class _Handler(BaseHTTPRequestHandler):
    answers: Callable[[str], Answer]
    timeout = _PATIENCE

    def do_GET(self) -> None:
        status, kind, body = type(self).answers(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "moderation"

    def log_message(self, format: str, *_arguments: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: who asks, and for what, is no news."""

"""The app on a socket: uvicorn, told to keep quiet about callers and to finish what it began."""

from __future__ import annotations

import functools
import logging
import signal
import socket
import sys
from typing import Any

import uvicorn

from moderation.errors import SettingsError
from moderation.sections import ServeSettings
from moderation.server.edge import Edge
from moderation.server.protocol import BoundedProtocol, Connections

_PATIENCE = 30  # seconds in which answers are finished once it is told to stop
_KEPT = 75  # seconds that an idle connection is kept: longer than the load balancers' usual 60

_TURN = 0.0005  # seconds that a thread may compute while another waits: of the usual 5 ms, an answer may lose several

_log = logging.getLogger(__name__)


def listen(app: Edge, settings: ServeSettings, taken: socket.socket) -> None:
    """Answer on a socket that is `bound` until SIGTERM or SIGINT, then finish what was begun. Raises SettingsError where somebody else listens there by now."""
    try:
        taken.listen()  # or who asks as soon as it says that it is ready is refused
    except OSError as error:  # two may have bound it while neither listened
        raise _taken(settings, error) from None
    server = make_server(app, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once it has finished, for whoever had it before: that is itself, or the process would end there, with 143,
        # before anything is let go of.
        signal.signal(number, server.handle_exit)
    host, port = taken.getsockname()[:2]
    _log.info("ready", extra={"told": {"address": f"http://{host}:{port}"}})
    server.run(sockets=[taken])


def make_server(app: Edge, settings: ServeSettings) -> uvicorn.Server:
    """What speaks HTTP for the app; from here on threads of this process take turns more often."""
    sys.setswitchinterval(_TURN)
    connections = Connections(settings.most_connections, settings.answers_bytes, app.cut)
    protocol: Any = functools.partial(BoundedProtocol, read_seconds=settings.read_seconds, connections=connections)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody asks who called
            lifespan="off",
            ws="none",
            http=protocol,
            timeout_keep_alive=_KEPT,
            timeout_graceful_shutdown=_PATIENCE,
        )
    )


def bound(settings: ServeSettings) -> socket.socket:
    """A socket at the settings' address. Raises SettingsError where the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named as TCP, or asyncio does not turn Nagle's algorithm off, and each answer takes 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((settings.host, settings.port))
    except OSError as error:
        taken.close()
        raise _taken(settings, error) from None
    return taken


def _taken(settings: ServeSettings, error: OSError) -> SettingsError:
    return SettingsError(f"settings: serve: cannot listen on {settings.host}:{settings.port}: {error.strerror}")

"""Starts one Kafka broker and one Redis server, and stops them when the last who uses them has gone, however it went.

Who uses them holds a connection to the keeper's socket (its lease). The system closes it when a process dies, so nothing is left behind
after Ctrl-C or a kill, and the workers of one test run share one set.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.services import available
from tests.services.broker import Broker, Proxied, Secure
from tests.services.redis import Redis

SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services are; empty what could not be had, and `proxied` and `secure` for a broker that we did not start."""

    kafka: str = ""
    redis: str = ""
    proxied: tuple[Proxied, ...] = ()
    secure: Secure | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Addresses:
        """What `to_json` wrote."""
        values = json.loads(line)
        proxied = tuple(Proxied(**one) for one in values["proxied"])
        return cls(values["kafka"], values["redis"], proxied, Secure(**values["secure"]) if values["secure"] else None)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Addresses]:
    """Whatever services can be had, their data in `folder`; an address in the environment wins over starting one."""
    kafka, redis = os.environ.get(available.KAFKA, ""), os.environ.get(available.REDIS, "")
    with contextlib.ExitStack() as stack:
        proxied: tuple[Proxied, ...] = ()
        secure: Secure | None = None
        if not redis and available.own_redis():
            server = Redis(folder / "redis")
            _run(server, stack)
            redis = server.address
        if not kafka and available.own_broker():
            workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
            broker = Broker(folder / "kafka", available.JARS, proxies=workers)
            _run(broker, stack)
            kafka, proxied, secure = broker.address, broker.proxied, broker.secure
        yield Addresses(kafka, redis, proxied, secure)


def keep(folder: Path) -> None:
    """Start the services, answer every connection to the socket in `folder` with their addresses, end with the last one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    data = Path(tempfile.mkdtemp(prefix="data-", dir=folder))
    try:
        with started(data) as addresses, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "binding"))
            listening.listen()
            (folder / "binding").rename(folder / SOCKET)
            _lend(listening, addresses)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lend(listening: socket.socket, addresses: Addresses) -> None:
    """Until the last lease has ended, or none was taken within 15 seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        leases: set[socket.socket] = set()
        while True:
            ready = selector.select(timeout=None if leases else 15)
            for key, _ in ready:
                if key.fileobj is listening:
                    lease, _ = listening.accept()
                    lease.sendall(addresses.to_json().encode() + b"\n")
                    leases.add(lease)
                    selector.register(lease, selectors.EVENT_READ)
                else:
                    ended = next(lease for lease in leases if lease is key.fileobj)
                    leases.remove(ended)
                    selector.unregister(ended)
                    ended.close()
            if not leases:
                return


def _run(server: Broker | Redis, stack: contextlib.ExitStack) -> None:
    server.start()
    stack.callback(server.stop)
    server.wait_until_ready()

"""One Redis server of one's own: loopback, a chosen port, nothing kept on disk."""

from __future__ import annotations

from pathlib import Path

from tests.services.process import Server, free_ports

HOST = "127.0.0.1"


class Redis(Server):
    """A server that is started, stopped, killed, frozen and started again; `options` are redis-server's own."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.address = f"{HOST}:{port}"
        given = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
        super().__init__(["redis-server", *given, *options], log=folder / "redis.log")

    def wait_until_ready(self, seconds: float = 20) -> None:
        """Return once the server takes connections; raises RuntimeError with the end of its log where it does not."""
        self.wait_until_listening(self.address, seconds)

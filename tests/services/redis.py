"""One Redis server of one's own: loopback, a chosen port, nothing kept on disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.services.process import Server, free_ports

HOST = "127.0.0.1"


class Redis(Server):
    """A server that is started, stopped, killed, frozen and started again; `options` are redis-server's own."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.address, self.certificate = f"{HOST}:{port}", Path()
        given = ["--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
        super().__init__(["redis-server", *given, *options], log=folder / "redis.log")

    @classmethod
    def secured(cls, folder: Path, password: str) -> Redis:
        """One that takes TLS and a password alone; whoever trusts `certificate` may speak to it."""
        folder.mkdir(parents=True)
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        files = ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*make, *files], check=True, capture_output=True)
        (port,) = free_ports(1)
        tls = ["--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file", str(certificate)]
        server = cls(folder / "data", *tls, "--tls-key-file", str(key), "--requirepass", password)
        server.address, server.certificate = f"{HOST}:{port}", certificate
        return server

    def wait_until_ready(self, seconds: float = 20) -> None:
        """Return once the server takes connections; raises RuntimeError with the end of its log where it does not."""
        self.wait_until_listening(self.address, seconds)

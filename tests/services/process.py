"""A server process for tests: it dies with whoever started it, and is touched by its own process id only."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PORTS = range(15_000, 32_000)  # below the range that outgoing connections are given


class Server:
    """A process that can be started again: `log` takes what it prints."""

    def __init__(self, command: list[str], *, log: Path) -> None:
        self._command, self._log = command, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; Ctrl-C does not reach it, but where setpriv is there it ends with the thread that starts it."""
        mortal = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*mortal, *self._command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def runs(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def send(self, what: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes the server, SIGCONT thaws it."""
        assert self._process is not None
        self._process.send_signal(what)

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order, or without one where that takes longer than ten seconds."""
        self._end(signal.SIGTERM)

    def wait_until_listening(self, address: str, seconds: float) -> None:
        """Return once it takes connections; raises RuntimeError with the end of its log where it does not."""
        host, port = address.split(":")
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.runs():
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self._command[0]} did not start:\n{self._log_end()}")

    def _log_end(self) -> str:
        """The last lines that it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:]) if self._log.exists() else ""

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        self._process = None


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on, and that no outgoing connection will be given."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found

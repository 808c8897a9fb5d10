"""How a test run comes to its services: the first who asks starts a keeper, the others of the same run share it."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.services.keeper import SOCKET, Addresses

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def lease(run: str) -> Iterator[Addresses]:
    """The services of the run with this name, for as long as this is open. Raises RuntimeError where they do not start."""
    with (Path(tempfile.gettempdir()) / "moderation-services.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = _join(Path(tempfile.gettempdir()) / f"moderation-services-{run}")
    with held.connection:
        yield held.addresses


@dataclass(frozen=True, slots=True)
class _Held:
    connection: socket.socket
    addresses: Addresses


def _join(base: Path) -> _Held:
    """A lease of a keeper that runs, or of a new one; a folder that a keeper is just leaving, or left by dying, is passed by."""
    for number in itertools.count():
        folder = base.with_name(f"{base.name}-{number}")
        held = _connect(folder)
        if held or not folder.exists():
            return held or _start(folder)
    raise AssertionError


def _start(folder: Path) -> _Held:
    """A keeper of its own session, which Ctrl-C does not reach: it ends with its last lease, and removes its folder."""
    folder.mkdir()
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "tests.services", "--keep", str(folder)]
        subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
        end = time.monotonic() + 120
        while time.monotonic() < end and folder.exists():
            held = _connect(folder)
            if held:
                return held
            time.sleep(0.05)
        log.seek(0)
        raise RuntimeError(f"the services did not start:\n{log.read().decode(errors='replace')}")


def _connect(folder: Path) -> _Held | None:
    connection = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        connection.connect(str(folder / SOCKET))
        with connection.makefile() as lines:
            told = lines.readline()
        if told:
            return _Held(connection, Addresses.from_json(told))
    connection.close()
    return None

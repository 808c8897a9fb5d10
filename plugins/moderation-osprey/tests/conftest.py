"""`moderation serve` with two policies that are shipped, neither of them live."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from moderation_osprey.client import SECONDS, URL

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = tmp_path_factory.mktemp("serve") / "serve.toml"
    locks = [str(POLICIES / f"{one}.lock.json") for one in ("weapons", "gore")]
    settings.write_text(f"[serve]\nlocks = {locks}\nport = {port}\n")
    command = [sys.executable, "-m", "moderation", "serve", str(settings)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ) as server:
        try:
            until = time.monotonic() + 180  # on a machine with other work it took a minute
            while not ready(url):
                assert server.poll() is None, server.stderr.read()
                assert time.monotonic() < until
                time.sleep(0.1)
            yield url
        finally:  # or who gave it up would wait for it for ever
            server.send_signal(signal.SIGTERM)
            server.communicate()


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - ours
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def served(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, address)
    monkeypatch.setenv(SECONDS, "30")

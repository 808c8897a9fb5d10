"""Pages in a real browser: what it makes of one, and what it asks the network for."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
# What a browser asks for by itself, each place by its whole name: fonts, scripts and pictures of the same owners are a page's own doing.
OWN = re.compile(
    r"^(http://)?(clients\d|accounts|www)\.google\.com[:/]|^(http://)?(update|optimizationguide-pa)\.googleapis\.com[:/]"
)
MARK = (0x1F, 0x5F, 0x8B)  # the colour of dots, intervals and curves


@pytest.fixture
def asked() -> Iterator[tuple[int, list[str]]]:
    """A proxy that every request of the browser must take, and what it was asked for."""
    requests: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(502)

        do_CONNECT = do_POST = do_GET  # noqa: N815 - the base class's names

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, requests
    server.shutdown()
    server.server_close()
    thread.join()


def opened(page: Path, port: int, folder: Path, *extra: str) -> str:
    """What the browser makes of the page, as HTML."""
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
        "--disable-component-update", "--no-first-run", "--disable-default-apps", "--window-size=1100,6000",
        f"--user-data-dir={folder / 'profile'}", f"--proxy-server=http://127.0.0.1:{port}", "--virtual-time-budget=3000", *extra,
        page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def of_the_page(requests: list[str]) -> list[str]:
    """What was asked for, without what the browser itself looks up."""
    return [one for one in requests if not OWN.search(one)]

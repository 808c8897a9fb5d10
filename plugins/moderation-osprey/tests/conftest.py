"""A sidecar with two policies that are shipped, neither of them live."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from moderation_osprey.client import URL
from moderation_osprey.sidecar import Sidecar

from moderation import assemble
from moderation.settings import Settings

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="session")
def running() -> Iterator[Sidecar]:
    settings = Settings()
    with closing(assemble.plugins(settings)) as known:
        locks = [POLICIES / f"{one}.lock.json" for one in ("weapons", "gore")]
        pipeline = assemble.pipeline(settings, locks, known=known)
        with Sidecar(pipeline, 0) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            yield server
            server.shutdown()


@pytest.fixture
def sidecar(running: Sidecar, monkeypatch: pytest.MonkeyPatch) -> Sidecar:
    monkeypatch.setenv(URL, f"http://127.0.0.1:{running.server_address[1]}")
    monkeypatch.setenv("OSPREY_MODERATION_SECONDS", "30")
    return running

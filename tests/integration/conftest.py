"""Fixtures that tests of whole things share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.browser import asked
from tests.services.redis import Redis

__all__ = ["asked"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of this test's own."""
    one = Redis(tmp_path / "redis")
    one.start()
    try:
        one.wait_until_ready()
        yield one
    finally:
        one.stop()

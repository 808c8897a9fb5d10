"""Topics for one test, and a proxy in front of the shared broker."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.keeper import Addresses
from tests.services.proxy import FaultProxy
from tests.stream.ground import Ground
from tests.stream.place import Place


@pytest.fixture
def ground(services: Addresses) -> Ground:
    """Two partitions each way."""
    return Ground.made(services.kafka)


@pytest.fixture
def place(services: Addresses, tmp_path: Path) -> Place:
    """Topics and settings of a true worker."""
    return Place(services.kafka, tmp_path, random.Random().randbytes(5).hex())


@pytest.fixture
def proxy(services: Addresses) -> Iterator[FaultProxy]:
    """This xdist worker's own proxied listener; for tests marked `needs_own_kafka`."""
    place = services.proxied[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))]
    with FaultProxy(place.listen, place.target) as proxy:
        yield proxy

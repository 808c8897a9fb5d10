"""What a worker answers over HTTP at each moment of its life."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from moderation.errors import ExitCode, StreamError
from moderation.sections import ProbeSettings
from moderation.stream.probe import Health, serve
from tests.stream.probed import ask


class Life:
    """A worker that is told how it is."""

    def __init__(self) -> None:
        self.stalled, self.inside, self.stops = 0.0, False, False
        self.health = Health(limit=10.0, stopping=lambda: self.stops)

    def start(self) -> None:
        self.health.started(since_progress=lambda: self.stalled, joined=lambda: self.inside)


@pytest.fixture
def life() -> Life:
    return Life()


@pytest.fixture
def port(life: Life) -> Iterator[int]:
    registry = CollectorRegistry()
    Counter("made_up", "For this test.", registry=registry).inc(3)
    with serve(ProbeSettings(port=0), registry, life.health) as port:
        yield port


def states(port: int) -> tuple[int, int, str]:
    """Of /healthz and /readyz, and the word that both say."""
    (alive, one), (ready, other) = ask(port, "/healthz"), ask(port, "/readyz")
    assert one == other
    return alive, ready, json.loads(one)["state"]


def test_alive_and_ready(life: Life, port: int) -> None:
    assert states(port) == (200, 503, "starting")
    life.start()
    assert states(port) == (200, 503, "joining")
    life.inside = True
    assert states(port) == (200, 200, "working")
    life.stalled = 10.0
    assert states(port) == (503, 503, "stalled")
    life.stalled, life.stops = 0.0, True
    assert states(port) == (200, 503, "stopping")


def test_metrics_and_what_is_not_there(port: int) -> None:
    status, text = ask(port, "/metrics?x=1")
    assert (status, "made_up_total 3.0" in text) == (200, True)
    assert ask(port, "/else")[0] == 404


def test_a_client_that_says_nothing_keeps_nobody_waiting(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)):
        assert ask(port, "/healthz")[0] == 200


def test_a_port_that_is_taken(port: int) -> None:
    with pytest.raises(StreamError, match="cannot listen on 127") as caught:
        serve(ProbeSettings(port=port), CollectorRegistry(), Life().health).__enter__()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE

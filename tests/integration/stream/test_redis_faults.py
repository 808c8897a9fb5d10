"""A Redis that is killed, flushed, frozen, full and slow under a true worker: each decision is the one that is made without any cache."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from moderation.embedding.redis_cache import connect
from tests.integration.stream.test_operation import samples, wait_for
from tests.services.process import free_ports
from tests.services.redis import Redis
from tests.stream.crew import Crew
from tests.stream.forms import forms
from tests.stream.place import Place, mixed
from tests.stream.tally import tally

pytestmark = [pytest.mark.needs_kafka, pytest.mark.needs_redis]

WITHOUT = "[cache]\nmax_bytes = 0\n"


class Faults:
    """What may become of a Redis; each comes upon what the one before left."""

    def __init__(self, server: Redis) -> None:
        self._server = server

    @property
    def each(self) -> list[Callable[[], None]]:
        """All of them."""
        return [self.kill, self.flush, self.freeze, self.fill_up, self.slow_down, self.stall]

    def kill(self) -> None:
        self._server.kill()

    def flush(self) -> None:
        self._client().flushall()

    def freeze(self) -> None:
        self._server.send(signal.SIGSTOP)

    def fill_up(self) -> None:
        """Empty, and without room for anything."""
        self._client().config_set("maxmemory", "1kb")
        self._client().flushall()

    def slow_down(self) -> None:
        """Answers come, but late."""
        self._pause(60)

    def stall(self) -> None:
        """Answers come later than anybody waits."""
        self._pause(400)

    def mend(self) -> None:
        """As if nothing had been."""
        if not self._server.runs():
            self._server.start()
        self._server.send(signal.SIGCONT)
        self._server.wait_until_ready()
        self._client().config_set("maxmemory", "0")

    def _pause(self, milliseconds: int) -> None:
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            self._client().execute_command("CLIENT", "PAUSE", milliseconds, "ALL")

    def _client(self) -> Any:
        return connect(f"redis://{self._server.address}/0", timeout_seconds=5.0)


@forms("rounds", short=1, full=20)
def test_decisions_are_those_without_a_cache_whatever_becomes_of_redis(
    place: Place, server: Redis, rounds: int
) -> None:
    (port,) = free_ports(1)
    sections = f'probe = {{port = {port}}}\n{WITHOUT}[cache.redis]\nurl = "redis://{server.address}/0"'
    dice, faults = random.Random(5), Faults(server)
    with Crew(place, place.config(worker=sections)) as crew:
        for number in range(rounds):
            place.feed(mixed(200, number))
            crew.work()
            for fault in dice.sample(faults.each, k=len(faults.each)):
                place.feed(mixed(200, number))
                fault()
                place.feed(mixed(200, number))
                crew.work()
                faults.mend()
                work_until_redis_is_used(place, crew, port)
        found = samples(wait_for(port, "/metrics", 200))
        crew.drain()
        assert crew.ends.total() == 0
    felt = {
        what: found[f"moderation_redis_faults_total{{result={what}}}"] for what in ("errors", "bypassed", "refused")
    }
    print(felt)
    assert min(felt.values()) > 0
    assert found["moderation_cache_requests_total{encoder=default,result=hit}"] > 0
    other = place.beside()
    with Crew(other, other.config("without", worker=WITHOUT)) as crew:
        crew.work()
        crew.drain()
    assert tally(place).whole
    assert answers(place) == answers(other)


def work_until_redis_is_used(place: Place, crew: Crew, port: int) -> None:
    """A breaker that opened closes with the first call that it lets through to a Redis that answers."""
    end = time.monotonic() + 180
    while samples(wait_for(port, "/metrics", 200))["moderation_redis_breaker_state{state=closed}"] != 1:
        assert time.monotonic() < end
        place.feed(mixed(10))
        crew.work()


def answers(place: Place) -> dict[Any, str]:
    """Every decision by its record, without what tells how it came about."""
    found = {}
    for one in place.read("decisions"):
        decision = json.loads(one.value)
        del decision["timing"], decision["cache_hit"]
        told = dict(one.headers)
        found[told["moderation.source.partition"], told["moderation.source.offset"]] = json.dumps(decision)
    return found

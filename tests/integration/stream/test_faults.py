"""Workers that are killed, frozen and cut off, brokers that restart: every record is counted at the end."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import available
from tests.services import proxy as kinds
from tests.services.broker import Broker
from tests.services.proxy import FaultProxy
from tests.stream.crew import Crew
from tests.stream.ground import Ground

pytestmark = pytest.mark.needs_own_kafka

TRANSACTION = (
    kinds.ADD_PARTITIONS,
    kinds.PRODUCE,
    kinds.ADD_OFFSETS,
    kinds.COMMIT_IN_TRANSACTION,
    kinds.END_TRANSACTION,
)


def kill_at_every_stage(ground: Ground, proxy: FaultProxy, requests: tuple[int, ...], delivery: str) -> int:
    """One life for each request, ended just before the request or its answer gets through; then the rest is worked off."""
    changes = {"bootstrap": proxy.address, "delivery": delivery, "static_member": True, "poll_records": 50}
    with Crew(ground, {"a": changes}) as crew:
        for request in requests:
            for way in (proxy.on_request, proxy.on_answer):
                way(request, lambda: crew.send("a", signal.SIGKILL))
                while not crew.died("a"):
                    time.sleep(0.01)
                crew.restart()
        crew.work(2000, within=40)
        crew.drain()
        return crew.ends[-signal.SIGKILL]


def test_a_worker_killed_at_every_stage_of_a_transaction_loses_and_repeats_nothing(
    ground: Ground, proxy: FaultProxy
) -> None:
    ground.feed(range(2000))
    assert kill_at_every_stage(ground, proxy, TRANSACTION, "exactly_once") == 10
    assert ground.counted() == dict.fromkeys(range(2000), 1)


def test_at_least_once_loses_nothing_and_repeats_at_most_a_batch_for_a_death(ground: Ground, proxy: FaultProxy) -> None:
    ground.feed(range(2000))
    deaths = kill_at_every_stage(ground, proxy, (kinds.PRODUCE, kinds.COMMIT_OFFSETS), "at_least_once")
    counted = ground.counted()
    assert deaths == 4
    assert counted.keys() == set(range(2000))
    assert 0 < counted.total() - 2000 <= 50 * deaths


def chaos(crew: Crew, dice: random.Random, faults: int) -> None:
    """Kill, or freeze beyond the session time-out, one worker after the other at random moments."""
    for _ in range(faults):
        slot = dice.choice(crew.slots)
        time.sleep(dice.uniform(0.3, 1.5))
        crew.restart()
        if dice.random() < 0.6:
            crew.send(slot, signal.SIGKILL)
        else:
            crew.send(slot, signal.SIGSTOP)
            time.sleep(dice.choice([0.5, 4.5]))
            crew.send(slot, signal.SIGCONT)


def test_kills_and_freezes_at_random_lose_and_repeat_nothing(ground: Ground) -> None:
    ground.feed(range(2000))
    with Crew(ground, {"a": {"poll_records": 50}, "b": {"poll_records": 50}}, seconds=0.3) as crew:
        chaos(crew, random.Random(6), faults=5)
        crew.work(2000, within=60)
        crew.drain()
    assert ground.counted() == dict.fromkeys(range(2000), 1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may stop, kill and freeze."""
    broker = Broker(tmp_path / "kafka", available.JARS)
    broker.start()
    broker.wait_until_ready()
    yield broker
    broker.stop()


def test_a_broker_that_restarts_dies_and_freezes_costs_time_only(broker: Broker) -> None:
    ground = Ground.made(broker.address)
    ground.feed(range(2000))
    changes = {"poll_records": 50, "request_seconds": 2.0, "commit_seconds": 4.0, "transaction_seconds": 5.0}
    with Crew(ground, {"a": changes, "b": changes}, seconds=0.2) as crew:
        for fault in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            crew.work(sum(ground.committed().values()) + 200, within=60)
            if fault == signal.SIGSTOP:
                broker.send(fault)
                time.sleep(6)
                broker.send(signal.SIGCONT)
                continue
            broker.stop() if fault == signal.SIGTERM else broker.kill()
            broker.start()
            broker.wait_until_ready()
        crew.work(2000, within=90)
        crew.drain()
    assert ground.counted() == dict.fromkeys(range(2000), 1)


class Nemesis:
    """Everything that may go wrong with workers, network and broker, in the order that the dice say."""

    def __init__(self, seed: int, crew: Crew, broker: Broker, proxies: list[FaultProxy]) -> None:
        self._dice, self._crew, self._broker, self._proxies = random.Random(seed), crew, broker, proxies

    def strike(self) -> str:
        """Do one thing; its name."""
        todo = self._dice.choice([self.kill, self.kill, self.freeze, self.end, self.drop, self.refuse, self.stall])
        todo = self._dice.choice([todo] * 9 + [self.restart, self.freeze_broker])
        todo()
        return todo.__name__

    def kill(self) -> None:
        self._crew.send(self._dice.choice(self._crew.slots), signal.SIGKILL)

    def end(self) -> None:
        self._crew.send(self._dice.choice(self._crew.slots), signal.SIGTERM)

    def freeze(self) -> None:
        slot = self._dice.choice(self._crew.slots)
        self._crew.send(slot, signal.SIGSTOP)
        time.sleep(self._dice.uniform(0.5, 9))
        self._crew.send(slot, signal.SIGCONT)

    def drop(self) -> None:
        self._dice.choice(self._proxies).drop()

    def refuse(self) -> None:
        proxy = self._dice.choice(self._proxies)
        proxy.refuse()
        time.sleep(self._dice.uniform(0.1, 6))
        proxy.accept()

    def stall(self) -> None:
        proxy = self._dice.choice(self._proxies)
        proxy.stall()
        time.sleep(self._dice.uniform(0.1, 6))
        proxy.flow()

    def restart(self) -> None:
        self._dice.choice([self._broker.stop, self._broker.kill])()
        time.sleep(self._dice.uniform(0, 4))
        self._broker.start()
        self._broker.wait_until_ready()

    def freeze_broker(self) -> None:
        self._broker.send(signal.SIGSTOP)
        time.sleep(self._dice.uniform(1, 12))
        self._broker.send(signal.SIGCONT)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_hundred_faults_of_all_kinds_at_random_lose_and_repeat_nothing(broker: Broker, seed: int) -> None:
    count, faults = 40_000, 100
    ground = Ground.made(broker.address, 6)
    ground.feed(range(count))
    budgets = {"request_seconds": 2.0, "commit_seconds": 4.0, "transaction_seconds": 5.0, "poll_records": 50}
    first, second = (FaultProxy(place.listen, place.target) for place in broker.proxied)
    bootstraps = {"a": first.address, "b": second.address, "c": broker.address}
    settings = {slot: {**budgets, "bootstrap": at} for slot, at in bootstraps.items()}
    with first, second, Crew(ground, settings, seconds=0.5) as crew:
        nemesis = Nemesis(seed, crew, broker, [first, second])
        struck = []
        for _ in range(faults):
            time.sleep(0.5)
            crew.restart()
            struck.append(nemesis.strike())
        print(f"seed {seed}: {Counter(struck)}, ends {crew.ends}, done {sum(ground.committed().values())}")
        crew.work(count, within=600)
        crew.drain()
    assert ground.counted() == dict.fromkeys(range(count), 1)

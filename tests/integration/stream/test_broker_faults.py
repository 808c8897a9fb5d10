"""Brokers that restart, die and freeze, and everything else that may go wrong between them and true workers: every record is counted at the end."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services import available
from tests.services.broker import Broker
from tests.services.proxy import FaultProxy
from tests.stream.crew import SHORT, Crew
from tests.stream.forms import forms
from tests.stream.place import Place, mixed
from tests.stream.tally import tally

pytestmark = pytest.mark.needs_own_kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that tests may stop, kill and freeze."""
    broker = Broker(tmp_path_factory.mktemp("broker") / "kafka", available.JARS, proxies=2)
    broker.start()
    broker.wait_until_ready()
    yield broker
    broker.stop()


@pytest.fixture
def place(broker: Broker, tmp_path: Path) -> Place:
    """Topics on that broker."""
    return Place(broker.address, tmp_path, random.Random().randbytes(5).hex())


@forms("rounds", short=1, full=10)
def test_a_broker_that_restarts_dies_and_freezes_costs_time_only(place: Place, broker: Broker, rounds: int) -> None:
    dice = random.Random(3)
    with Crew(place, place.config("a", **SHORT), place.config("b", **SHORT)) as crew:
        nemesis = Nemesis(dice, crew, broker, [])
        for number in range(rounds):
            for fault in (nemesis.restart_broker, nemesis.kill_broker, nemesis.freeze_broker_for_long):
                place.feed(mixed(400, number))
                crew.work(100)
                fault()
        crew.work()
        crew.drain()
    print(f"{rounds} rounds, ends: {dict(crew.ends)}")
    assert tally(place).whole


class Nemesis:
    """Everything that may go wrong with workers, network and broker, as long as the dice say."""

    def __init__(self, dice: random.Random, crew: Crew, broker: Broker, proxies: list[FaultProxy]) -> None:
        self._dice, self._crew, self._broker, self._proxies = dice, crew, broker, proxies

    @property
    def often(self) -> list[Callable[[], None]]:
        """What may happen any minute."""
        return [self.kill, self.freeze, self.end, self.drop, self.refuse, self.stall]

    @property
    def seldom(self) -> list[Callable[[], None]]:
        """What all workers feel."""
        return [self.restart_broker, self.kill_broker, self.freeze_broker]

    def kill(self) -> None:
        self._crew.send(self._dice.randrange(len(self._crew)), signal.SIGKILL)

    def end(self) -> None:
        self._crew.send(self._dice.randrange(len(self._crew)), signal.SIGTERM)

    def freeze(self) -> None:
        number = self._dice.randrange(len(self._crew))
        self._crew.send(number, signal.SIGSTOP)
        time.sleep(self._dice.uniform(0.5, 7))
        self._crew.send(number, signal.SIGCONT)

    def drop(self) -> None:
        self._dice.choice(self._proxies).drop()

    def refuse(self) -> None:
        proxy = self._dice.choice(self._proxies)
        proxy.refuse()
        time.sleep(self._dice.uniform(0.1, 5))
        proxy.accept()

    def stall(self) -> None:
        proxy = self._dice.choice(self._proxies)
        proxy.stall()
        time.sleep(self._dice.uniform(0.1, 5))
        proxy.flow()

    def restart_broker(self) -> None:
        self._broker.stop()
        self._back()

    def kill_broker(self) -> None:
        self._broker.kill()
        self._back()

    def freeze_broker(self) -> None:
        self._freeze_broker(self._dice.uniform(1, 10))

    def freeze_broker_for_long(self) -> None:
        """Beyond the sessions and the transactions of `SHORT`."""
        self._freeze_broker(SHORT["transaction_seconds"] + 1.5)

    def _back(self) -> None:
        time.sleep(self._dice.uniform(0, 2))
        self._broker.start()
        self._broker.wait_until_ready()

    def _freeze_broker(self, seconds: float) -> None:
        self._broker.send(signal.SIGSTOP)
        time.sleep(seconds)
        self._broker.send(signal.SIGCONT)


def drawn(nemesis: Nemesis, dice: random.Random, faults: int) -> list[Callable[[], None]]:
    """Each kind once, in any order; beyond that, what strikes all is one fault in ten."""
    each = [*nemesis.often, *nemesis.seldom]
    more = [dice.choice(nemesis.often if dice.random() < 0.9 else nemesis.seldom) for _ in range(faults - len(each))]
    return dice.sample([*each, *more], k=faults)


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        pytest.param(4, 9, id="short"),
        *(pytest.param(seed, 100, id=f"full-{seed}", marks=pytest.mark.soak) for seed in (1, 2, 3)),
    ],
)
def test_faults_of_all_kinds_at_random_lose_and_repeat_nothing(
    place: Place, broker: Broker, seed: int, faults: int
) -> None:
    dice = random.Random(seed)
    first, second = (FaultProxy(one.listen, one.target) for one in broker.proxied)
    addresses = {"a": first.address, "b": second.address, "c": broker.address}
    configs = [place.config(slot, bootstrap=at, **SHORT) for slot, at in addresses.items()]
    with first, second, Crew(place, *configs) as crew:
        nemesis = Nemesis(dice, crew, broker, [first, second])
        struck: Counter[str] = Counter()
        for number, strike in enumerate(drawn(nemesis, dice, faults)):
            place.feed(mixed(300, number))
            time.sleep(dice.uniform(0.0, 1.0))
            crew.restart()
            strike()
            struck[strike.__name__] += 1
        print(f"seed {seed}: {dict(struck)}, ends: {dict(crew.ends)}")
        crew.work()
        crew.drain()
    assert tally(place).whole

"""What every sink promises, as tests that a plugin's own test file inherits.

    class TestWebhook(SinkKit):
        make = staticmethod(lambda: Webhook(config_of_a_server_that_the_tests_run))
        plugin = "webhook"
        secrets = ("whsec_...",)

pytest finds the rest, as it does of a detector. What `make` makes must lead to a receiver that takes decisions, and that may see them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from moderation.decision import Again, Delivered, Delivery, Receipt, Sink
from moderation.detector.faults import WRONG
from moderation.detector.life import set_up, take
from moderation.plugin.registry import SinkRegistry
from moderation.sink.runner import check_receipts
from moderation.testing.kit import Kit

HOSTILE: tuple[dict[str, Any], ...] = (
    {},
    {"item_id": "\u202e\x00\r\nx-injected: 1", "verdicts": []},
    {"item_id": "a" * 200_000},
    {"verdicts": [{"score": 1e308, "evidence": {"\U0001f3f4": -1.0}}] * 100},
)


class SinkKit(Kit):
    """Inherit, and say how the sink is made. `seconds` are those of one call; `secrets` must stand in nothing that is printed."""

    make: ClassVar[Callable[[], Sink]]
    seconds: ClassVar[float] = 10.0
    secrets: ClassVar[Sequence[str]] = ()
    brings: ClassVar[str] = "sinks"

    # Identity

    def test_identity_is_what_registering_demands(self) -> None:
        """Two of a kind are registered under one id, before anything is set up."""
        one, other = SinkRegistry("kit"), SinkRegistry("kit")
        one.add(self._made())
        other.add(self._made())
        assert one.sinks.keys() == other.sinks.keys()

    # Shape

    def test_shape_of_nothing(self) -> None:
        """No decision has no receipt."""
        assert len(self._ready().deliver((), self.seconds)) == 0

    def test_shape_of_receipts(self) -> None:
        """One good receipt for each decision, and those that are good are delivered."""
        assert set(self._receipts(made(7))) == {Delivered()}

    # Determinism

    def test_determinism_of_repeats(self) -> None:
        """What was delivered is delivered when it comes again: a process may die before it noted the first time."""
        deliveries = made(5)
        assert self._receipts(deliveries) == self._receipts(deliveries)

    # Failure

    def test_failure_of_hostile_decisions(self) -> None:
        """Whatever stands in a decision, nothing is raised, and others are delivered beside it or after it."""
        hostile = [
            Delivery(
                id_ := f"../hostile/{number}",
                {"decision_id": id_, "action": "remove", **more},
                f"topic-{number + 9}",
                -1,
            )
            for number, more in enumerate(HOSTILE)
        ]
        self._receipts([*hostile, *made(3)])
        assert set(self._receipts(made(3))) == {Delivered()}

    def test_failure_tells_no_secrets(self) -> None:
        """Neither the sink nor a receipt shows a secret when it is printed."""
        sink = self._ready()
        told = f"{sink!r} {vars(sink) if hasattr(sink, '__dict__') else ''} {self._receipts(made(1))!r}"
        assert not [number for number, secret in enumerate(self.secrets) if secret in told]

    def test_failure_keeps_the_order_of_a_partition(self) -> None:
        """With no time at all: nothing of a partition is delivered after one that is to be tried again."""
        deliveries = made(20)
        held: set[str] = set()
        for delivery, receipt in zip(deliveries, self._receipts(deliveries, seconds=0.001), strict=True):
            assert not (isinstance(receipt, Delivered) and delivery.partition in held)
            if isinstance(receipt, Again):
                held.add(delivery.partition)

    def test_failure_of_one_thread_reaches_no_other(self) -> None:
        """Calls from several threads at once: one that overran may still be at work beside the next."""
        sink = self._ready()
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: sink.deliver(made(3), self.seconds), range(8)):
                assert set(check_receipts(found, 3)) == {Delivered()}

    # Life cycle

    def test_life_cycle_ends_more_than_once(self) -> None:
        """Closed twice, and closed before it was ever set up: nothing is raised."""
        for sink in (self._ready(), self._made()):
            for _ in range(2):
                take(sink, "close")

    # Cost

    def test_cost_is_within_its_time(self) -> None:
        """A large batch is answered within its seconds, delivered or not."""
        began = time.monotonic()
        self._receipts(made(200), seconds=2.0)
        assert time.monotonic() - began < 2.0, "took longer than its 2 s"

    # What the tests share

    def _ready(self) -> Sink:
        sink: Sink = self._made()
        set_up(sink)
        return sink

    def _receipts(self, deliveries: Sequence[Delivery], *, seconds: float | None = None) -> tuple[Receipt, ...]:
        found = check_receipts(self._ready().deliver(deliveries, seconds or self.seconds), len(deliveries))
        assert WRONG not in found, f"found {found}; expected a receipt for each"
        return found  # type: ignore[return-value]


def made(count: int) -> list[Delivery]:
    """Decisions that nobody made, of two partitions."""
    ids = [hashlib.sha256(f"kit {number}".encode()).hexdigest()[:32] for number in range(count)]
    return [
        Delivery(
            id_,
            {"decision_id": id_, "item_id": f"item {number}", "action": "remove"},
            f"decisions-{number % 2}",
            1000 + number,
        )
        for number, id_ in enumerate(ids)
    ]

"""The kit for sinks, on one that keeps its promises, and on ones that break one each."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from moderation.decision import Again, Delivered, Delivery, Refused
from moderation.errors import PluginError
from moderation.testing import SinkKit

SECRET = "whsec_canary"


class Desk:
    id = "desk"

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        return [Delivered() for _ in deliveries]


class TestDesk(SinkKit):
    make = Desk
    secrets = (SECRET,)


class Nameless(Desk):
    id = "Not An Id"


class Talkative(Desk):
    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        return super().deliver(deliveries, seconds) or [Delivered()]


class Short(Desk):
    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        return super().deliver(deliveries[1:], seconds)


class Once(Desk):
    seen: set[str]

    def __init__(self) -> None:
        self.seen = SEEN

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        known = [one.id in self.seen for one in deliveries]
        self.seen |= {one.id for one in deliveries}
        return [Refused("seen_before") if one else Delivered() for one in known]


SEEN: set[str] = set()


class Strict(Desk):
    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        return [Delivered() for one in deliveries if one.decision["item_id"]]


class Open(Desk):
    def __init__(self) -> None:
        self.secret = SECRET


class Hasty(Desk):
    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        return [Again("no_time") if seconds < 1 and number == 3 else Delivered() for number, _ in enumerate(deliveries)]


class Alone(Desk):
    def __init__(self) -> None:
        self.turn = threading.Lock()

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        if not self.turn.acquire(blocking=False):
            return [Again("busy") for _ in deliveries]
        time.sleep(0.02)
        self.turn.release()
        return super().deliver(deliveries, seconds)


class Closing(Desk):
    calls = itertools.count()

    def close(self) -> None:
        assert next(self.calls) == 0


class Slow(Desk):
    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        time.sleep(0.011 * len(deliveries))
        return super().deliver(deliveries, seconds)


BROKEN = {
    "identity_is_what_registering_demands": Nameless, "shape_of_nothing": Talkative, "shape_of_receipts": Short, "determinism_of_repeats": Once,
    "failure_of_hostile_decisions": Strict, "failure_tells_no_secrets": Open, "failure_keeps_the_order_of_a_partition": Hasty,
    "failure_of_one_thread_reaches_no_other": Alone, "life_cycle_ends_more_than_once": Closing, "cost_is_within_its_time": Slow,
}  # fmt: skip


@pytest.mark.parametrize("test", BROKEN)
def test_a_sink_that_breaks_a_promise_fails_its_test(test: str) -> None:
    kit = type("Broken", (TestDesk,), {"make": BROKEN[test], "__test__": False})()
    with pytest.raises((AssertionError, KeyError, PluginError)):
        getattr(kit, f"test_{test}")()


def test_every_test_of_the_kit_is_seen_to_fail() -> None:
    shared = {"identity_arrives_by_its_entry_point", "import_asks_no_network"}
    assert {name.removeprefix("test_") for name in dir(SinkKit) if name.startswith("test_")} - shared == set(BROKEN)

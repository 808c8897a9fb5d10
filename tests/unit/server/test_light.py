"""A caller that asks for little beside one that takes all it gets: how long its parts take on a device of known cost, and what that costs the other."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded
from moderation.item import Modality, Part
from moderation.rollout.company import TEXTS
from moderation.server.batcher import Batcher
from moderation.server.costs import SIZES, Costs, Kind
from moderation.server.light import SPAN, Light
from tests.fakes import FakeEncoder

KIND = Kind("default", Modality.TEXT)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Device(FakeEncoder):
    """Takes `cost(n)` of its own time for n parts. Beside a key that always wants 64 more, another one comes at the times `due`, with so many parts."""

    def __init__(self, cost: Callable[[int], float], due: Sequence[float], *, parts: int = 1) -> None:
        super().__init__()
        self.cost, self.parts, self.clock = cost, parts, Clock()
        self.waits, self.batches = list[float](), list[tuple[float, int]]()
        self._due, self._number, self._end = sorted(due, reverse=True), 0, max(due) + 6 * SPAN
        near = MemoryCache(10**6)
        known = Costs({KIND: {size: cost(size) for size in SIZES}})
        self.batcher = Batcher({"default": Embedder(self, near)}, known, near=near, clock=self.clock)
        self._over = threading.Event()
        self._ask("large", 64)
        assert self._over.wait(60)
        self.batcher.close()

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        if set(texts) <= set(TEXTS):
            return super().encode_text(texts)
        told = threading.Event()
        self.batcher._teller._untold.put(told.set)
        assert told.wait(20)  # that answers are told beside the next batch takes no time on this clock
        self.batches.append((self.clock.now, len(texts)))
        end = self.clock.now + self.cost(len(texts))
        while self._due and self._due[-1] <= end:
            self.clock.now = came = self._due.pop()
            asked = self._ask("small", self.parts)
            asked.add_done_callback(lambda _, came=came: self.waits.append(self.clock.now - came))
        if self.clock.now < self._end:
            self._ask("large", len(texts))
        else:
            self._over.set()
        self.clock.now = end
        return super().encode_text(texts)

    def _ask(self, caller: str, count: int):  # type: ignore[no-untyped-def]
        self._number += count
        texts = [Part.text(f"0.{number + 10**6}") for number in range(self._number - count, self._number)]
        return self.batcher.ask({"default": texts}, caller=caller, seconds=10**6).done


def at_random(count: int, start: float, end: float) -> list[float]:
    chance = random.Random(1)
    return [chance.uniform(start, end) for _ in range(count)]


def test_a_light_callers_part_takes_no_longer_than_four_alone_and_full_batches_are_back_once_it_is_gone() -> None:
    """Batches of 8, 16 and 32 take 90, 130 and 210 ms, a lone part 55."""
    device = Device(lambda parts: 0.05 + 0.005 * parts, [5.0, *at_random(150, 6.0, 25.0)])
    first, *others = device.waits
    assert first <= 2 * 0.21  # nobody knew of it
    assert len(others) == 150
    assert max(others) <= 4 * 0.055
    sizes = {
        "before": [n for at, n in device.batches if at < 4.7],
        "after": [n for at, n in device.batches[:-3] if at > 25 + 2 * SPAN],
    }
    assert {name: set(ones) for name, ones in sizes.items()} == {"before": {32}, "after": {32}}
    beside = [n for at, n in device.batches if 7 < at < 24]
    assert max(beside) <= 16
    assert sum(beside) / 17 > 0.7 * 32 / 0.21


def test_where_a_full_batch_costs_little_more_than_a_lone_part_nothing_is_cut() -> None:
    device = Device(lambda parts: 0.05 + 0.001 * parts, at_random(50, 2.0, 12.0))
    assert {parts for _, parts in device.batches[:-3]} == {32}
    assert max(device.waits) <= 4 * 0.051


def test_a_light_callers_own_parts_run_together_however_many_they_are() -> None:
    device = Device(lambda parts: 0.05 + 0.005 * parts, [2.0 + 1.13 * number for number in range(15)], parts=20)
    assert max(device.waits[1:]) <= 0.13 + 0.15 + 0.01


def test_who_is_light_and_asks_for_much_at_once_makes_no_small_batches_of_others() -> None:
    """What waits for longer than it should is not helped by them."""
    device = Device(lambda parts: 0.05 + 0.005 * parts, [5.0 + number / 100 for number in range(80)])
    assert min(parts for at, parts in device.batches[:-3] if at > 2) >= 8


BOTH = ("a", "b")  # want some of it


class Had(Light):
    """By a clock of its own."""

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        self.clock = Clock()
        super().__init__(lambda caller: (weights or {}).get(caller, 1.0), self.clock)


def test_light_is_who_had_little_for_its_weight_or_comes_anew_and_nobody_where_one_is_alone() -> None:
    had = Had()
    assert had.callers(["a"]) == frozenset()
    had.had(["a"] * 10, 0.1, BOTH)
    assert had.callers(["a"]) == frozenset()
    assert had.callers(["a", "b"]) == {"b"}
    had.had(["b"] * 7, 0.1, BOTH)
    assert had.callers([]) == frozenset(), "0.7 beside 1.0 is 0.82 of an equal share"
    had.had(["a"] * 5, 0.1, BOTH)
    assert had.callers([]) == {"b"}


def test_a_share_is_by_weight() -> None:
    had = Had({"heavy": 3.0})
    had.had(["heavy", "usual", "usual"], 1.0, BOTH)
    assert had.callers([]) == {"heavy"}
    had.had(["heavy"] * 5, 1.0, BOTH)
    assert had.callers([]) == frozenset()


def test_what_was_long_ago_counts_no_more_and_is_not_held() -> None:
    had = Had()
    had.had(["a", *"bbbb"], 1.0, BOTH)
    had.clock.now += 1.9 * SPAN
    assert had.callers([]) == {"a"}
    had.clock.now += 0.2 * SPAN
    assert had.callers(["b"]) == frozenset(), "one is alone"
    had.clock.now += 9 * SPAN
    had.had([], 1.0, BOTH)
    assert not had._now
    assert not had._before


def test_what_a_caller_had_while_nobody_else_was_about_was_taken_from_nobody() -> None:
    had = Had()
    for _ in range(10):
        had.had(["small"] * 3, 0.1, ["small"])
    had.had(["large"] * 32, 0.01, ["small", "large"])
    assert had.callers([]) == {"small"}

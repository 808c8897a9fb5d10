"""What is predicted of a device of known cost, by the second: what runs, what waits, whose turn it is, and what large pictures take beside."""

from __future__ import annotations

import pytest

from moderation.item import Modality, Part
from moderation.server.costs import SIZES, Costs, Kind
from moderation.server.fair import FairQueue
from moderation.server.forecast import Forecast
from moderation.server.ticket import Waiting

TEXT, IMAGE = Kind("default", Modality.TEXT), Kind("default", Modality.IMAGE)


class Bench:
    """A forecast over a queue and a clock of its own; a batch of up to four costs `batch` seconds, and `part` for each of its parts."""

    def __init__(self, batch: float = 4.0, weights: dict[str, float] | None = None, *, part: float = 0.0) -> None:
        self.now, self._number = 100.0, 0
        self.queue: FairQueue[Waiting] = FairQueue(lambda one: batch / 4 + one.extra, weights)
        table = {kind: {size: batch + part * size for size in SIZES} for kind in (TEXT, IMAGE)}
        self.forecast = Forecast(Costs(table), self.queue, largest=4, clock=lambda: self.now)

    def wait(self, caller: str, count: int = 1, *, kind: Kind = TEXT, extra: float = 0.0) -> list[Waiting]:
        ones = []
        for _ in range(count):
            self._number += 1
            ones.append(Waiting(str(self._number), Part.text("a"), kind, caller, [], extra=extra))
            self.queue.push(ones[-1])
        return ones


def test_an_idle_device_takes_what_is_asked_alone() -> None:
    assert Bench().forecast.ahead("a", {TEXT: 1, IMAGE: 1}, 0.5) == 8.5


def test_others_fill_up_the_batch_of_who_joins_a_queue_and_nobodys_who_finds_the_device_idle() -> None:
    bench = Bench(part=1.0)
    assert bench.forecast.ahead("a", {TEXT: 1}) == 5.0
    bench.wait("b")
    assert bench.forecast.ahead("a", {TEXT: 1}) == 8.0


def test_what_runs_is_waited_for_and_is_late_once_it_should_be_over() -> None:
    bench = Bench()
    assert bench.forecast.began(TEXT, bench.wait("a", 2, extra=0.5)) == 5.0
    for _ in range(2):
        bench.queue.pop()
    assert bench.forecast.drain() == 5.0
    assert bench.forecast.ahead("a", {TEXT: 1}) == 5.0 + 4.0
    bench.now += 4
    assert bench.forecast.drain() == 1.0
    bench.now += 4
    assert bench.forecast.drain() == 3.0  # as long again as it is overdue
    bench.forecast.ended()
    assert bench.forecast.drain() == 0.0


def test_all_that_waits_is_drained_by_whole_batches_and_what_large_pictures_take_beside() -> None:
    bench = Bench()
    bench.wait("a", 5)
    bench.wait("b", 2, kind=IMAGE, extra=0.25)
    assert bench.forecast.drain() == 3 * 4.0 + 0.5


def test_who_has_nothing_waits_for_its_own_share_and_who_has_all_for_all() -> None:
    bench = Bench()
    bench.wait("bulk", 40)
    assert bench.forecast.ahead("shop", {TEXT: 1}) == 8.0  # every other batch is its own
    assert bench.forecast.ahead("bulk", {TEXT: 1}) == 44.0
    for caller in ("c", "d"):
        bench.wait(caller)
    assert bench.forecast.ahead("shop", {TEXT: 1}) == 16.0
    assert Bench(weights={"shop": 3.0}).forecast.ahead("shop", {TEXT: 1}) == 4.0


def test_where_little_waits_nobody_is_charged_more_than_all_of_it() -> None:
    bench = Bench(weights={"little": 0.01})
    bench.wait("bulk")
    assert bench.forecast.ahead("little", {TEXT: 1}) == 4.0  # both fit one batch
    bench.wait("bulk", extra=3.0)
    assert bench.forecast.ahead("little", {TEXT: 1}, 0.5) == 4.0 + 3.5


def test_ones_own_large_pictures_are_charged_by_ones_share() -> None:
    bench = Bench()
    bench.wait("bulk", 40)
    bench.wait("shop", 2, extra=1.5)
    assert bench.forecast.ahead("shop", {TEXT: 1}, 0.5) == (4.0 + 3.0 + 0.5) * 2


def test_who_had_more_than_its_share_is_told_to_wait_for_the_others_turns() -> None:
    bench = Bench(weights={"little": 0.1})
    bench.wait("little")
    bench.wait("usual")
    while bench.queue.pop():
        pass
    bench.wait("usual")
    lag = bench.queue.lag("little")
    assert lag > 8.0
    assert bench.forecast.ahead("little", {TEXT: 1}) == pytest.approx(lag + 4.0 * 11)


def test_while_a_light_caller_is_about_who_waits_is_charged_shorter_batches_and_others_do_not_fill_up_its_own() -> None:
    table = {kind: {size: 0.05 + 0.005 * size for size in SIZES} for kind in (TEXT, IMAGE)}
    bench, costs = Bench(), Costs(table)
    bench.forecast = forecast = Forecast(costs, bench.queue, largest=32, clock=lambda: bench.now)
    assert (costs.within(TEXT, 3), costs.within(TEXT, 0.5), costs.within(TEXT, 9)) == (16, 1, 32)
    assert (forecast.largest(TEXT), forecast.full(TEXT)) == (32, 0.05 + 0.16)
    forecast.light = {"small"}
    assert (forecast.largest(TEXT), forecast.of_light(TEXT)) == (16, 32)
    assert forecast.full(TEXT) == forecast.each(TEXT) * 16 == pytest.approx(0.13)
    bench.wait("large", 33)
    assert forecast.drain() == pytest.approx(3 * 0.13)

    def fits(count: int, *, since: float | None, extra: float = 0.0) -> bool:
        small = [] if since is None else bench.wait("small", extra=extra)
        for one in small:
            one.since = bench.now - (since or 0.0)
        return forecast.joins([*small, *bench.wait("large", count - len(small))])

    assert (fits(15, since=None), fits(16, since=None)) == (True, False)
    assert (fits(15, since=0.078), fits(15, since=0.080), fits(7, since=0.118), fits(7, since=0.120)) == (
        True,
        False,
        True,
        False,
    )
    assert (fits(8, since=0.078), fits(8, since=0.080)) == (True, False), "with one more it is a batch of the next size"
    assert (fits(15, since=0.05, extra=0.02), fits(15, since=0.05, extra=0.04)) == (True, False)
    assert fits(8, since=0.166), "it is too late to help it"
    assert forecast.joins(bench.wait("small", 31), light=True)
    assert not forecast.joins(bench.wait("small", 32), light=True)


def test_while_a_light_caller_is_about_a_full_batch_leaves_time_for_a_lone_part() -> None:
    bench = Bench()
    costs = Costs({TEXT: dict(zip(SIZES, (1.0, 1.0, 1.0, 1.0, 2.5, 3.5), strict=True))})
    forecast = Forecast(costs, bench.queue, largest=32, clock=lambda: bench.now)
    assert forecast.largest(TEXT) == 32
    forecast.light = {"small"}
    assert forecast.largest(TEXT) == 16, (
        "with 3.5 and its own part's time a light caller would wait for longer than it should"
    )

"""Who of many connections stays: those that are in work, those that asked last, those that read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from moderation.server import protocol
from moderation.server.protocol import BoundedProtocol, Connections


class One:
    """A connection: in work, idle, or answered with a byte that waits to be read."""

    answered, idle = BoundedProtocol.answered, BoundedProtocol.idle

    def __init__(self, others: Connections, *, idle: bool = False, answered: bool = False) -> None:
        self.dropped, self._others = False, others
        self.cycle = SimpleNamespace(response_complete=answered or idle)
        self.transport: Any = SimpleNamespace(get_write_buffer_size=lambda: int(answered))

    def drop(self, why: str = "") -> None:
        self.dropped, self.why = True, why
        self._others.lose(self)  # type: ignore[arg-type]


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of two places and two spare ones: lets so many in, each idle or not."""
    monkeypatch.setattr(protocol, "_SPARE", 2)
    others: Any = Connections(2, 100)

    def let_in(*idle: bool) -> list[One]:
        ones = [One(others, idle=one) for one in idle]
        for one in ones:
            others.admit(one)
        return ones

    return others, let_in


def test_one_too_many_takes_the_place_of_who_is_idle_longest(places: Any) -> None:
    others, let_in = places
    first, second = let_in(True, True)
    others.asks(first)
    (third,) = let_in(False)
    assert [one.dropped for one in (first, second, third)] == [False, True, False]
    assert not others.crowded(third)


def test_where_nobody_is_idle_who_does_not_read_its_answer_makes_room(places: Any) -> None:
    others, _ = places
    working, first, second, third, idle, last = (One(others, answered=at in (1, 2, 3), idle=at == 4) for at in range(6))
    for one in (first, second):
        others.admit(one)
    others.admit(third)
    assert [first.dropped, second.dropped] == [True, False]
    second.drop()
    others.admit(idle)
    others.admit(working)
    assert [third.dropped, idle.dropped] == [False, True]  # who is idle goes first
    others.admit(last)
    assert [working.dropped, third.dropped] == [False, True]


def test_where_all_are_in_work_a_few_more_are_let_in_until_there_is_room(places: Any) -> None:
    others, let_in = places
    ones = let_in(False, False, True, True)
    assert [others.crowded(one) for one in ones] == [False, False, True, True]
    (fifth,) = let_in(False)  # the third came, and never asked
    assert [one.dropped for one in (*ones, fifth)] == [False, False, True, False, False]
    ones[0].drop()
    ones[3].drop()
    assert not others.crowded(fifth)


def test_there_are_never_more_than_that(places: Any) -> None:
    _, let_in = places
    ones = let_in(*[False] * 7)
    assert [one.dropped for one in ones] == [False] * 4 + [True] * 3
    assert {one.why for one in ones[4:]} == {"crowded"}


def three_unread(places: Any) -> tuple[Any, Any]:
    """The connections, and three of them that have 40 bytes unread each."""
    others, let_in = places
    for one in (ones := let_in(False, False, False)):
        one.transport = SimpleNamespace(get_write_buffer_size=lambda: 40)
    return others, ones


def test_too_much_that_nobody_reads_costs_who_has_not_read_for_longest(places: Any) -> None:
    others, ones = three_unread(places)
    others.stops_reading(ones[1])
    others.stops_reading(ones[0])
    others.reads(ones[1])
    others.stops_reading(ones[1])
    assert not any(one.dropped for one in ones)
    others.stops_reading(ones[2])
    assert [one.dropped for one in ones] == [True, False, False]
    assert ones[0].why == "unread"


def test_what_a_connection_that_is_gone_left_unread_counts_no_more(places: Any) -> None:
    others, ones = three_unread(places)
    others.stops_reading(ones[0])
    others.stops_reading(ones[1])
    others.lose(ones[0])
    others.stops_reading(ones[2])
    assert not any(one.dropped for one in ones)

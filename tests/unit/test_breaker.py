"""The breaker, example by example; tests/property holds it against a model."""

from __future__ import annotations

import logging
import random
import threading

import pytest

from moderation.breaker import Breaker, Breakers, RestingError, State


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_so_many_failures_in_a_row_and_one_success_forgets_them() -> None:
    breaker = Breaker(failures=3, clock=Clock())
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        assert breaker.admits()
        outcome()
    assert (breaker.state, breaker.admits()) == (State.CLOSED, True)
    breaker.failed()
    assert (breaker.state, breaker.admits()) == (State.OPEN, False)


def test_after_a_while_one_call_is_let_through_and_decides() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, first_delay=1.0, clock=clock)
    assert breaker.admits()
    breaker.failed()
    clock.now = 1.0
    assert breaker.state is State.HALF_OPEN
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert (breaker.state, breaker.admits()) == (State.CLOSED, True)


def test_each_failed_try_doubles_the_delay_up_to_the_last_one() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, first_delay=1.0, last_delay=8.0, clock=clock, chance=random.Random(0))
    waits = []
    for _ in range(6):
        assert breaker.admits()
        breaker.failed()
        began = clock.now
        while breaker.state is State.OPEN:
            clock.now += 0.01
        waits.append(clock.now - began)
    assert all(0.5 * full <= wait <= full + 0.02 for wait, full in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    assert len({round(wait, 1) for wait in waits[3:]}) > 1  # spread, so that workers do not come back together


def test_what_has_a_name_is_told_of_once_when_it_is_left_alone_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    named, unnamed = (Breaker(failures=2, first_delay=1.0, clock=clock, name=name) for name in ("redis", ""))
    with caplog.at_level(logging.INFO):
        for one in (named, unnamed):
            for _ in range(4):
                clock.now += 100.0
                with pytest.raises(ConnectionError), one.watch():
                    raise ConnectionError("redis://user:a-secret-word@host")
        for one in (named, unnamed):
            clock.now += 100.0
            for _ in range(2):
                with one.watch():
                    pass
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "redis is left alone, and tried again now and then: ConnectionError"),
        ("INFO", "redis is back"),
    ]


def test_of_many_threads_only_one_tries() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, clock=clock)
    breaker.failed()
    clock.now = 100.0
    let_through = []
    threads = [threading.Thread(target=lambda: let_through.append(breaker.admits())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(let_through) == [False] * 19 + [True]


def test_a_watched_call_fails_as_it_ends_and_is_kept_back_while_the_service_rests() -> None:
    clock = Clock()
    breaker = Breaker(failures=2, first_delay=8.0, clock=clock)
    with pytest.raises(KeyError), breaker.watch(spares=lambda error: isinstance(error, KeyError)):
        raise KeyError
    with pytest.raises(KeyboardInterrupt), breaker.watch():
        raise KeyboardInterrupt
    with breaker.watch(slow=1.0) as call:
        clock.now += 1.5
    assert (call.slow, breaker.state) == (True, State.OPEN)
    with pytest.raises(RestingError) as kept, breaker.watch():
        raise AssertionError("the call went through")
    assert 4.0 <= kept.value.seconds <= 8.0
    clock.now += kept.value.seconds
    with breaker.watch(slow=1.0) as call, pytest.raises(RestingError) as beside, breaker.watch():
        raise AssertionError("a second call went through")
    assert (beside.value.seconds, call.slow, breaker.state) == (0.0, False, State.CLOSED)


def test_a_probe_that_is_interrupted_is_a_failure_and_not_for_ever() -> None:
    clock = Clock()
    breaker = Breaker(failures=1, first_delay=1.0, clock=clock)
    for _ in range(3):
        clock.now += 100.0
        with pytest.raises(KeyboardInterrupt), breaker.watch():
            raise KeyboardInterrupt
        assert breaker.state is State.OPEN


def test_of_many_names_those_asked_for_last_are_remembered() -> None:
    breakers = Breakers(lambda: Breaker(failures=1), most=2)
    for name in "ab":
        breakers.of(name).failed()
    assert [breakers.of(name).state for name in "ab"] == [State.OPEN] * 2
    breakers.of("a")
    breakers.of("c")
    assert [breakers.of(name).state for name in "ab"] == [State.OPEN, State.CLOSED]

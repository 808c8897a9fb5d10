"""Set up once, whoever needs it and however often; what fails says how; closed once, whatever that does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.detector import life
from moderation.detector.faults import SetupError
from moderation.detector.life import Lives, set_up
from tests.fakes import FakeDetector, Lived


class Slow(FakeDetector):
    def __init__(self) -> None:
        super().__init__("slow")
        self.calls, self.let_go = 0, threading.Event()

    def setup(self) -> None:
        self.calls += 1
        self.let_go.wait(60.0)


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    made.let_go.set()


def test_it_is_set_up_and_verified_once_and_closed_once() -> None:
    lives, one = Lives(), Lived()
    assert lives.begin([one]) == lives.begin([one]) == {}
    lives.close()
    lives.close()
    assert one.called == ["setup", "verify", "close"]


def test_it_needs_none_of_the_steps() -> None:
    lives = Lives()
    assert lives.begin([FakeDetector()]) == {}
    lives.close()


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        ({"setup": OSError("no index")}, "setup failed: OSError: no index"),
        ({"verify": AssertionError("a gun scores 0\nmore")}, "verify failed: AssertionError: a gun scores 0"),
        ({"setup": SystemExit(3)}, "setup failed: SystemExit: 3"),
        ({"setup": SetupError("as it says")}, "as it says"),
    ],
)
def test_what_fails_says_how_and_is_tried_again_when_it_is_needed_again(raised: Any, cause: str) -> None:
    lives, bad, good = Lives(), Lived("bad", **raised), Lived("good")
    assert lives.begin([bad, good]) == {"bad": cause}
    bad.raised = {}
    assert lives.begin([bad, good]) == {}
    assert (bad.called.count("setup"), good.called.count("setup")) == (2, 1)


def test_what_failed_is_not_closed() -> None:
    lives, bad = Lives(), Lived(setup=ValueError())
    lives.begin([bad])
    lives.close()
    assert bad.called == ["setup"]


def test_trap_04_who_takes_too_long_is_left_behind_and_not_called_again(slow: Slow) -> None:
    lives = Lives(seconds=0.05)
    began = time.monotonic()
    assert lives.begin([slow, Lived("good")]) == {"slow": "setup took longer than 0.05 s"}
    assert time.monotonic() - began < 20.0
    slow.let_go.set()
    patient = time.monotonic() + 30.0
    while lives.begin([slow]) and time.monotonic() < patient:
        pass
    assert (lives.begin([slow]), slow.calls) == ({}, 1)


def test_they_are_set_up_side_by_side() -> None:
    meet = threading.Barrier(3, timeout=60.0)

    class Meeting(FakeDetector):
        def setup(self) -> None:
            meet.wait()

    assert Lives().begin([Meeting(str(number)) for number in range(3)]) == {}


def test_closing_stops_nobody(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    class Hung(Lived):
        def close(self) -> None:
            release.wait(60.0)

    monkeypatch.setattr(life, "CLOSE_SECONDS", 0.5)
    lives, bad, good = Lives(), Lived("bad", close=ValueError("canary")), Lived("good")
    lives.begin([Hung("hung"), bad, good])
    lives.close()
    release.set()
    assert good.called[-1] == "close"
    assert caplog.messages.count("bad cannot be closed: ValueError") == 1
    assert "hung cannot be closed: it took longer than 0.5 s" in caplog.messages
    assert "canary" not in caplog.text


def test_who_is_set_up_after_all_is_closed_then_and_not_waited_for() -> None:
    class Late(Slow):
        def close(self) -> None:
            closed.set()

    closed, late, lives = threading.Event(), Late(), Lives(seconds=0.05)
    assert lives.begin([late]) == {"slow": "setup took longer than 0.05 s"}
    lives.close()  # if it waited for the set-up, this test would take as long as that
    assert not closed.is_set()
    late.let_go.set()
    assert closed.wait(60.0)


@given(st.lists(st.sets(st.integers(0, 4)), max_size=8), st.sets(st.integers(0, 4)))
def test_whoever_needs_whom_each_is_set_up_once_and_each_failure_is_named(
    needed: list[set[int]], failing: set[int]
) -> None:
    lives = Lives()
    units = [Lived(f"u{n}", **({"verify": ValueError()} if n in failing else {})) for n in range(5)]
    for wanted in needed:
        failed = lives.begin([units[n] for n in wanted])
        assert failed.keys() == {f"u{n}" for n in wanted & failing}
    lives.close()
    for number, unit in enumerate(units):
        times = sum(number in wanted for wanted in needed)
        once = min(times, 1)
        expected = (
            ["setup", "verify"] * times if number in failing else [*["setup", "verify"] * once, *["close"] * once]
        )
        assert unit.called == expected


def test_set_up_alone_raises_the_cause() -> None:
    with pytest.raises(SetupError, match=r"^verify failed: KeyError"):
        set_up(Lived(verify=KeyError("x")))
    set_up(None)

from __future__ import annotations

import os
import threading
import time

import pytest

from moderation.errors import ExitCode, StreamError
from moderation.stream.deadline import CallThread


@pytest.fixture
def thread() -> CallThread:
    return CallThread("calls")


def raising(error: Exception) -> None:
    raise error


def test_what_a_call_returns_or_raises_comes_back_also_a_time_out_of_its_own(thread: CallThread) -> None:
    assert thread.call("add", 5, lambda: 1 + 1) == 2
    with pytest.raises(KeyError, match="x"):
        thread.call("look", 5, lambda: raising(KeyError("x")))
    with pytest.raises(TimeoutError, match="its own"):
        thread.call("read", 5, lambda: raising(TimeoutError("its own")))
    thread.end()


def test_all_calls_are_made_in_one_thread_that_ends_when_told(thread: CallThread) -> None:
    seen = {thread.call("who", 5, threading.current_thread) for _ in range(3)}
    (one,) = seen
    assert one is not threading.current_thread()
    thread.end()
    one.join(5)
    assert not one.is_alive()


def test_a_call_that_never_returns_is_not_waited_for(thread: CallThread) -> None:
    release = threading.Event()
    started = time.monotonic()
    with pytest.raises(StreamError, match=r"commit: no answer within 0.2 s; whether it happened is unknown") as caught:
        thread.call("commit", 0.2, release.wait)
    assert time.monotonic() - started < 2
    assert caught.value.exit_code == ExitCode.STALLED
    release.set()
    thread.end()


def test_a_child_may_not_use_its_parents_thread(thread: CallThread, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(StreamError, match=f"belongs to process {parent}; open one after the fork"):
        thread.call("poll", 1, lambda: None)
    thread.end()

"""What a refused caller is told: how long to stay away, never longer than clients obey, and not all alike. What the log is told of what nobody foresaw."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import OverloadedError
from moderation.server import handlers
from moderation.server.errors import overloaded
from moderation.telemetry import REQUEST, JsonLines


def told(seconds: float) -> tuple[int, int]:
    headers = overloaded(OverloadedError("too much waits", after_seconds=seconds)).headers
    return int(headers["retry-after-ms"]), int(headers["retry-after"])


@given(st.floats(0.001, 10_000))
def test_who_is_refused_may_come_again_about_when_there_is_room_and_within_what_clients_obey(seconds: float) -> None:
    milliseconds, whole = told(seconds)
    assert min(120_000, 800 * seconds) <= milliseconds <= min(120_000, 1200 * seconds + 1)
    assert milliseconds <= 1000 * whole < milliseconds + 1000


@pytest.mark.parametrize("seconds", [120.0, 1000.0])
def test_what_is_spread_about_is_still_obeyed(seconds: float) -> None:
    assert all(told(seconds)[0] <= 120_000 and told(seconds)[1] <= 120 for _ in range(50))


def test_not_all_come_back_at_once() -> None:
    assert len({told(10.0)[0] for _ in range(20)}) > 5


def test_what_nobody_foresaw_is_logged_with_its_place_and_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError) as raised:
        {}["a secret"]
    assert handlers.told(raised.value, b"an-id").status == 500
    (one,) = caplog.records
    assert re.search(r"test_serve_errors.py:\d+ test_what_nobody_foresaw", vars(one)["told"]["exception.stacktrace"])
    assert vars(one)["told"][REQUEST] == "an-id"
    assert "secret" not in JsonLines().format(one) + caplog.text

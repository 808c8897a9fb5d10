"""The load generator: every request is counted once, late ones from when they should have begun, and callers that go away are no failures."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from itertools import count, islice, pairwise
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.server.load import LEFT, NOTHING, Answer, Asked, Load, Spread, drive, outcome
from tests.served import Place, serving
from tests.unit.server.test_batcher import Device, until


def texts(start: str = "t") -> Iterator[Asked]:
    return (Asked("/v1/moderations", json.dumps({"input": f"{start}{n}"}).encode()) for n in count())


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with serving() as one:
        yield one


answers = st.builds(
    lambda bad, due, late, took, status: Answer(Asked("/", b"", bad), due, due + late, due + late + took, status),
    st.booleans(),
    st.floats(0, 10),
    st.floats(0, 1),
    st.floats(0, 5),
    st.sampled_from([200, 400, 404, 408, 413, 429, 500, 503, LEFT, NOTHING]),
)


@given(st.lists(answers, max_size=40))
def test_every_request_is_counted_once(given: list[Answer]) -> None:
    found = outcome(given, Load(rate=1.0))
    assert (
        found.asked
        == len(given)
        == (found.answered + found.refused + found.told_bad + found.left + sum(found.failed.values()))
    )
    assert found.in_time <= found.answered
    assert 0 <= found.share_in_time <= 1
    wrong = [one for one in given if not one.asked.bad and one.status not in {200, 429, LEFT}]
    broken = [one for one in given if one.asked.bad and (one.status >= 500 or one.status == NOTHING)]
    assert sum(found.failed.values()) == len(wrong) + len(broken)


@given(st.lists(st.floats(0, 100), min_size=1))
def test_a_spread_is_ordered_and_of_what_was_seen(seconds: list[float]) -> None:
    found = Spread.of(seconds)
    assert found
    assert min(seconds) <= found.p50 <= found.p95 <= found.p99 <= found.largest == max(seconds)
    assert {found.p50, found.p95, found.p99} <= set(seconds)


def test_nothing_has_no_spread() -> None:
    assert Spread.of([]) is None


def test_clients_ask_one_after_the_other_until_the_requests_end(place: Place) -> None:
    (found,) = drive(place.url, (islice(texts(), 50), Load(clients=4, seconds=60)))
    told = outcome(found, Load(clients=4))
    assert (told.asked, told.answered, told.in_time, told.failed) == (50, 50, 50, {})
    assert told.rate > 10
    assert sum(one.asked.route == "/v1/moderations" for one in found) == 50


def test_bad_requests_are_told_so_and_gets_are_asked(place: Place) -> None:
    asked = [
        Asked("/v1/moderations", b"{", bad=True),
        Asked("/metrics", None),
        Asked("/v1/moderations", b'{"input": 7}'),
    ]
    (found,) = drive(place.url, (asked, Load()))
    told = outcome(found, Load())
    assert (told.told_bad, told.answered, told.failed) == (1, 1, {"400": 1})


def test_a_stall_is_counted_from_when_requests_should_have_begun_and_holds_no_request_back() -> None:
    """With one request after the other, a stall of half a second is one late request; here it is as many as came meanwhile."""
    device = Device()
    with serving(encoder=device) as place:
        device.go.clear()
        threading.Timer(0.5, device.go.set).start()
        how = Load(rate=60, seconds=1.0, deadline=60)
        (found,) = drive(place.url, (texts(), how))
    told = outcome(found, how)
    assert (told.answered, told.failed) == (told.asked, {})
    assert 30 <= told.asked <= 100  # of 60, beyond four standard deviations
    assert told.latency
    assert told.latency.largest > 0.4
    assert sum(one.seconds > 0.1 for one in found) > 10


def test_arrivals_are_at_random_and_repeat_with_their_seed() -> None:
    def arrivals(seed: int) -> list[float]:
        with serving() as place:
            (found,) = drive(place.url, (texts(), Load(rate=200, seconds=0.5, seed=seed)))
        dues = sorted(one.due for one in found)
        return [after - before for before, after in pairwise(dues)]

    first, again, other = arrivals(1), arrivals(1), arrivals(2)
    assert len(first) > 50
    assert first == pytest.approx(again, abs=1e-5)
    assert len(other) != len(first) or other != pytest.approx(first, abs=1e-5)
    assert max(first) > 2 * sum(first) / len(first)  # a fixed beat would be steady


def test_callers_that_go_away_are_counted_and_the_server_sees_them_go() -> None:
    device = Device()
    with serving(encoder=device) as place:
        device.go.clear()
        threading.Timer(0.5, device.go.set).start()
        how = Load(clients=8, seconds=0.4, leaves=0.5, leaves_within=0.05, deadline=60)
        (found,) = drive(place.url, (texts(), how))
        told = outcome(found, how)
        assert told.left > 0
        assert told.failed == {}
        # One that goes just as it is answered, or before its request is there, is not seen to go.
        until(lambda: told.left - 2 <= _count(place, "499") <= told.left)
        until(lambda: place.service.batcher.waiting == (0, 0))


def _count(place: Place, status: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(place.url).netloc, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return sum(
        int(float(one.rsplit(" ", 1)[1])) for one in lines if f'status="{status}"' in one and "requests_total" in one
    )


def test_who_refuses_connections_or_never_answers_is_a_failure_and_no_hang() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        (found,) = drive(url, (islice(texts(), 3), Load(deadline=0.1, patience=0.1)))
        assert time.monotonic() - began < 5
    assert outcome(found, Load()).failed == {"0": 3}
    (found,) = drive(url, (islice(texts(), 3), Load(deadline=0.1, patience=0.1)))
    assert outcome(found, Load()).failed == {"0": 3}


def test_loads_at_once_have_keys_of_their_own() -> None:
    keys = {name: {"sha256": hashlib.sha256(f"mod-{name}".encode()).hexdigest()} for name in ("a", "b")}
    with serving(keys=keys) as place:
        hows = [Load(clients=2, seconds=60, key=key) for key in ("mod-a", "mod-b", "mod-c")]
        found = drive(place.url, *((islice(texts(how.key), 20), how) for how in hows))
    assert [[one.status for one in row] for row in found] == [[200] * 20, [200] * 20, [401] * 20]

"""The breaker against a plain model: whatever happens in whatever order."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from moderation.breaker import Breaker, State

STEPS = st.lists(st.tuples(st.sampled_from(["call ok", "call fails", "wait"]), st.floats(0.0, 40.0)), max_size=60)


@given(STEPS, st.integers(1, 4))
def test_the_breaker_does_as_its_model(steps: list[tuple[str, float]], limit: int) -> None:
    now = 0.0
    breaker = Breaker(failures=limit, first_delay=0.5, last_delay=30.0, clock=lambda: now, chance=random.Random(1))
    failures = opened = 0
    blocked_since = 0.0
    for step, seconds in steps:
        if step == "wait":
            now += seconds
            continue
        admitted = breaker.admits()
        if not opened:
            assert admitted  # closed: every call goes through
        else:
            longest = min(0.5 * 2.0 ** (opened - 1), 30.0)
            if now - blocked_since >= longest:
                assert admitted  # never kept back longer than the delay
            if now - blocked_since < 0.5 * longest:
                assert not admitted  # never tried before half of it
        if not admitted:
            continue
        if step == "call ok":
            breaker.succeeded()
            failures = opened = 0
            assert breaker.state is State.CLOSED
        else:
            breaker.failed()
            failures += 1
            if opened or failures >= limit:
                opened, blocked_since = opened + 1, now
                assert breaker.state is State.OPEN

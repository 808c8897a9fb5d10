"""What a load test concludes from its loads, and how it draws them."""

from __future__ import annotations

import re

import pytest

from moderation.server.bench import Plan, Result, Step
from moderation.server.bench_page import render_html
from moderation.server.load import Outcome, Spread


def step(fraction: float, in_time: int, *, failed: int = 0, memory: int | None = 100) -> Step:
    waited = Spread(0.01, 0.02, 0.03, 0.04)
    counts = {"answered": in_time, "in_time": in_time, "refused": 100 - in_time, "told_bad": 0, "left": 0}
    shown = Outcome(asked=100, **counts, failed={"500": failed} if failed else {}, seconds=1.0, latency=waited, refusal=None, late=waited)  # fmt: skip
    return Step(fraction, 100 * fraction, shown, memory)


def result(*steps: Step, warm: int | None = 80) -> Result:
    return Result(1.0, 64, 100.0, step(1.0, 100).found, steps, warm, 120)


def test_it_is_saturated_where_one_in_a_hundred_is_not_answered_in_time() -> None:
    assert result(step(0.5, 100), step(0.8, 99), step(1.0, 98)).saturation == 80.0
    assert result(step(0.5, 98)).saturation is None


def test_growth_is_counted_from_the_warm_up_and_not_known_without_memory() -> None:
    assert result(step(0.5, 100, memory=90), step(1.0, 100)).growth == pytest.approx(0.25)
    assert result(step(1.0, 100), warm=None).growth is None
    assert result(step(1.0, 100, memory=None)).growth is None


def test_failures_of_every_load_are_counted() -> None:
    assert result(step(0.5, 100, failed=2), step(1.0, 100, failed=3)).failed == 5


def test_the_page_draws_every_load_inside_its_frame_and_tells_what_is_broken() -> None:
    found = result(step(0.25, 100), step(1.0, 97), step(3.0, 40))
    html = render_html(found, Plan(), ["p99 <is> late"])
    points = [tuple(map(float, one.split(","))) for row in re.findall(r'points="([^"]*)"', html) for one in row.split()]
    assert len(points) == 15
    assert all(0 <= x <= 720 and 0 <= y <= 240 for x, y in points)
    assert "p99 &lt;is&gt; late" in html
    assert "no bound is broken" not in html
    assert html == render_html(found, Plan(), ["p99 <is> late"])

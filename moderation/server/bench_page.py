"""A load test for people: one HTML page that fetches nothing and runs no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

from moderation.release.page import render
from moderation.server.bench import Plan, Result, Step

WIDTH, HEIGHT = 720.0, 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 18.0, 12.0, 34.0
Of = Callable[[Step], float | None]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over the offered load: each a name and its points in the plot's units, and where the axes' words stand."""

    title: str
    unit: str
    lines: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    capacity: float
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM


def render_html(found: Result, plan: Plan, broken: Sequence[str]) -> str:
    """The page as HTML text: latency and answers over the offered load, the same as a table, and memory."""
    return render(
        resources.files("moderation.server") / "bench.html.j2",
        style=resources.files("moderation.audit") / "page.css",
        filters={"ms": lambda value: "none" if value is None else f"{1000 * value:,.1f}"},
        found=found,
        plan=plan,
        broken=broken,
        plots=_plots(found),
    )


def _plots(found: Result) -> list[Plot]:
    def late(name: str) -> Of:
        return lambda one: 1000 * getattr(one.found.latency, name) if one.found.latency else None

    waited: dict[str, Of] = {"p50": late("p50"), "p95": late("p95"), "p99": late("p99")}
    a_second: dict[str, Of] = {
        "in time": lambda one: one.found.rate,
        "refused": lambda one: one.found.refused / one.found.seconds,
    }
    return [
        plot_of(found, "How late answers are", "ms", waited),
        plot_of(found, "What becomes of requests", "a second", a_second),
    ]


def plot_of(found: Result, title: str, unit: str, lines: dict[str, Of]) -> Plot:
    """Lines over the offered load, both axes from 0; a load of which a number is not known has no point."""
    steps = sorted(found.steps, key=lambda one: one.offered)
    values = [value for of in lines.values() for one in steps if (value := of(one)) is not None]
    across = max((one.offered for one in steps), default=1.0)
    high = _nice(max(values, default=1.0))

    def x(offered: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * offered / across, 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * value / high, 1)

    drawn = {
        name: tuple((x(one.offered), y(value)) for one in steps if (value := of(one)) is not None)
        for name, of in lines.items()
    }
    return Plot(
        title,
        unit,
        tuple(drawn.items()),
        tuple((x(one.offered), f"{one.fraction:g}") for one in steps),
        tuple((y(high * part / 4), f"{high * part / 4:,.4g}") for part in range(5)),
        x(found.capacity) if found.capacity <= across else WIDTH - _RIGHT,
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if value <= step * power * (1 + 1e-9))

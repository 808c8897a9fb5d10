"""The geometry of the report's plot: violating scores above the axis, benign ones below, thresholds across both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 40
WIDTH, HEIGHT = 720.0, 236.0
_LEFT, _RIGHT, _AXIS, _REACH = 8.0, 8.0, 118.0, 84.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of one class, in the plot's units."""

    x: float
    y: float
    width: float
    height: float
    violating: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One threshold; `flip` puts its words on the left of the line."""

    x: float
    action: str
    threshold: float
    flip: bool
    row: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table behind the plot: scores from `low` up to `high`."""

    low: float
    high: float
    violating: int
    benign: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Everything the template draws."""

    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[Row, ...]
    width: float = WIDTH
    height: float = HEIGHT
    axis: float = _AXIS


def histogram(
    violating: Sequence[float], benign: Sequence[float], thresholds: Sequence[tuple[str, float]]
) -> Histogram:
    """Bars whose height is the square root of the share of their class, so that a tail of one in a thousand is seen."""
    up, down = _count(violating), _count(benign)
    tallest = max([count / max(sum(side), 1) for side in (up, down) for count in side], default=0.0) or 1.0
    bars = [*_bars(up, tallest, above=True), *_bars(down, tallest, above=False)]
    lines = tuple(
        Line(round(_x(cut), 2), action, cut, flip=cut > 0.72, row=row)
        for row, (action, cut) in enumerate(sorted(thresholds, key=lambda one: one[1]))
    )
    ticks = tuple((round(_x(at / 5), 2), f"{at / 5:.1f}") for at in range(6))
    rows = [Row(i / BINS, (i + 1) / BINS, up[i], down[i]) for i in range(BINS) if up[i] or down[i]]
    return Histogram(tuple(bars), lines, ticks, tuple(rows))


def _count(scores: Sequence[float]) -> list[int]:
    counts = [0] * BINS
    for score in scores:
        counts[min(int(score * BINS), BINS - 1)] += 1
    return counts


def _bars(counts: Sequence[int], tallest: float, *, above: bool) -> list[Bar]:
    total, step = max(sum(counts), 1), (WIDTH - _LEFT - _RIGHT) / BINS
    bars = []
    for index, count in enumerate(counts):
        if count:
            height = max(math.sqrt(count / total / tallest) * _REACH, 1.5)
            y = _AXIS - height if above else _AXIS
            bars.append(
                Bar(round(_x(index / BINS) + 0.6, 2), round(y, 2), round(step - 1.2, 2), round(height, 2), above)
            )
    return bars


def _x(score: float) -> float:
    return _LEFT + score * (WIDTH - _LEFT - _RIGHT)

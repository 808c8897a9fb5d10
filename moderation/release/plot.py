"""The geometry of a plot of scores: those of one kind above the axis, of another below, thresholds across both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moderation.release.bins import BINS

WIDTH, HEIGHT = 720.0, 236.0
_LEFT, _RIGHT, _AXIS, _REACH = 8.0, 8.0, 118.0, 84.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of one kind, in the plot's units."""

    x: float
    y: float
    width: float
    height: float
    above: bool


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
    above: int
    below: int


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


def plot_of(above: Sequence[int], below: Sequence[int], thresholds: Sequence[tuple[str, float]]) -> Histogram:
    """Bars for scores counted in bins, whose height is the square root of the share of their kind, so that a tail of one in a thousand is seen."""
    tallest = max([count / max(sum(side), 1) for side in (above, below) for count in side], default=0.0) or 1.0
    bars = [*_bars(above, tallest, above=True), *_bars(below, tallest, above=False)]
    lines = tuple(
        Line(round(_x(cut), 2), action, cut, flip=cut > 0.72, row=row)
        for row, (action, cut) in enumerate(sorted(thresholds, key=lambda one: one[1]))
    )
    ticks = tuple((round(_x(at / 5), 2), f"{at / 5:.1f}") for at in range(6))
    rows = [Row(i / BINS, (i + 1) / BINS, above[i], below[i]) for i in range(BINS) if above[i] or below[i]]
    return Histogram(tuple(bars), lines, ticks, tuple(rows))


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

"""The geometry of a backtest's plots: rows of shares with intervals, before and after on one line, and counts over days."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, LABEL, ROW = 720.0, 190.0, 30.0
HEIGHT = 220.0
_LEFT, _TOP, _BOTTOM, _RIGHT = 56.0, 12.0, 30.0, 18.0
_APART = 6.0  # between the marks of one row


@dataclass(frozen=True, slots=True)
class Shown:
    """One share to draw: `kind` says whose it is, and is its class on the page."""

    kind: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One share in the plot's units."""

    kind: str
    x: float
    low: float
    high: float
    y: float


@dataclass(frozen=True, slots=True)
class Row:
    """What has one name; `goal` is where a line crosses it, None where there is none."""

    name: str
    y: float
    marks: tuple[Mark, ...]
    goal: float | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows over an axis from 0."""

    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    width: float = WIDTH
    label: float = LABEL


@dataclass(frozen=True, slots=True)
class Lines:
    """Counts over days: one line of points for each kind."""

    lines: tuple[tuple[str, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT


def rows_of(shown: Sequence[tuple[str, Sequence[Shown], float | None]]) -> Rows:
    """One row for each name with its shares and its goal; the axis ends a little above the highest bound, at most at 1."""
    tops = [max([one.high for one in marks] + ([goal] if goal else [])) for _, marks, goal in shown if marks]
    top = min(_nice(max(tops, default=1.0)), 1.0)
    reach = WIDTH - LABEL - _RIGHT

    def x(value: float) -> float:
        return round(LABEL + reach * min(value / top, 1.0), 2)

    placed = []
    for place, (name, marks, goal) in enumerate(shown):
        y = _TOP + ROW * (place + 0.5)
        first = y - _APART * (len(marks) - 1) / 2
        drawn = tuple(
            Mark(one.kind, x(one.value), x(one.low), x(one.high), round(first + _APART * number, 2))
            for number, one in enumerate(marks)
        )
        placed.append(Row(name, round(y, 2), drawn, None if goal is None else x(goal)))
    ticks = tuple((x(top * part / 4), f"{100 * top * part / 4:.3g} %") for part in range(5))
    return Rows(tuple(placed), ticks, _TOP + ROW * len(shown) + 24.0)


def lines_of(days: Sequence[str], counts: Sequence[tuple[str, Sequence[int]]]) -> Lines | None:
    """Counts by day for each kind, of days that follow each other in time; None for fewer than two days."""
    if len(days) < 2:
        return None
    top = _nice(max((max(one) for _, one in counts), default=1) or 1.0)
    reach, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def x(place: int) -> float:
        return round(_LEFT + reach * place / (len(days) - 1), 2)

    def y(count: float) -> float:
        return round(_TOP + height * (1.0 - count / top), 2)

    step = max(1, math.ceil(len(days) / 6))
    return Lines(
        lines=tuple(
            (kind, " ".join(f"{x(place)},{y(count)}" for place, count in enumerate(one))) for kind, one in counts
        ),
        x_ticks=tuple((x(place), days[place]) for place in range(0, len(days), step)),
        y_ticks=tuple((y(top * part / 4), f"{top * part / 4:,.4g}") for part in range(5)),
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if value <= step * power * (1 + 1e-9))

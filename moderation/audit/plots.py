"""The geometry of the audit's plots: dots with intervals by group, and the gap over the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moderation.audit.curves import CurvePoint
from moderation.audit.result import Cell

WIDTH, LABEL, ROW = 720.0, 190.0, 26.0
CURVE_HEIGHT = 220.0
_LEFT, _TOP, _BOTTOM, _RIGHT = 46.0, 12.0, 30.0, 14.0


@dataclass(frozen=True, slots=True)
class Dot:
    """One group's rate with its interval, in the plot's units."""

    group: str
    y: float
    x: float
    low: float
    high: float
    compared: bool


@dataclass(frozen=True, slots=True)
class Dots:
    """One harm in one attribute: rows of dots over an axis of rates."""

    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    width: float = WIDTH
    label: float = LABEL


@dataclass(frozen=True, slots=True)
class Curve:
    """The largest gap over the threshold, as a line; the tolerance, and the thresholds in use, as straight ones."""

    line: str
    tolerance: float
    cuts: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: float = WIDTH
    height: float = CURVE_HEIGHT
    left: float = _LEFT
    floor: float = CURVE_HEIGHT - _BOTTOM
    right: float = WIDTH - _RIGHT


def dots(cells: Sequence[Cell]) -> Dots:
    """One row for each group that has any eligible item; the axis ends a little above the highest bound."""
    shown = [cell for cell in cells if cell.rate is not None]
    top = _nice(max((cell.high for cell in shown), default=1.0))
    reach = WIDTH - LABEL - _RIGHT

    def x(rate: float) -> float:
        return round(LABEL + reach * rate / top, 2)

    placed = tuple(
        Dot(
            cell.group,
            round(_TOP + ROW * (row + 0.5), 2),
            x(cell.rate or 0.0),
            x(cell.low),
            x(cell.high),
            cell.compared,
        )
        for row, cell in enumerate(shown)
    )
    ticks = tuple((x(top * part / 4), f"{top * part / 4:.3g}") for part in range(5))
    return Dots(placed, ticks, _TOP + ROW * len(shown) + 24.0)


def curve(points: Sequence[CurvePoint], tolerance: float, cuts: Sequence[tuple[str, float]]) -> Curve | None:
    """The gap at every threshold; None for fewer than two points."""
    if len(points) < 2:
        return None
    top = _nice(max(tolerance, *(point.gap for point in points)))
    reach, height = WIDTH - _LEFT - _RIGHT, CURVE_HEIGHT - _TOP - _BOTTOM

    def x(threshold: float) -> float:
        return round(_LEFT + reach * threshold, 2)

    def y(gap: float) -> float:
        return round(_TOP + height * (1.0 - gap / top), 2)

    return Curve(
        line=" ".join(f"{x(point.threshold)},{y(point.gap)}" for point in points),
        tolerance=y(tolerance),
        cuts=tuple((x(cut), action) for action, cut in cuts),
        x_ticks=tuple((x(part / 5), f"{part / 5:.1f}") for part in range(6)),
        y_ticks=tuple((y(top * part / 4), f"{top * part / 4:.3g}") for part in range(5)),
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten, at most 1."""
    for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        if value <= step:
            return step
    return 1.0

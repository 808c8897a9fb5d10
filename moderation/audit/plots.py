"""The geometry of the audit's plots: dots with intervals by group, and the gap over the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moderation.audit.curves import CurvePoint, Reliability
from moderation.audit.result import Cell

WIDTH, LABEL, ROW = 720.0, 190.0, 26.0
CURVE_HEIGHT = 244.0
_LEFT, _TOP, _BOTTOM, _RIGHT = 64.0, 16.0, 46.0, 18.0
_AXIS = 44.0  # below the dots: ticks, and what they count


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of a plot: a value with its interval; `faint` where it is shown and not compared."""

    name: str
    value: float
    low: float
    high: float
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """One mark in the plot's units."""

    mark: Mark
    y: float
    x: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Dots:
    """Rows of dots over an axis; `zero` is where the axis crosses 0, None where it begins there."""

    dots: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None
    height: float
    width: float = WIDTH
    label: float = LABEL
    axis: float = _AXIS


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
    top: float = _TOP
    floor: float = CURVE_HEIGHT - _BOTTOM
    right: float = WIDTH - _RIGHT


def rates(cells: Sequence[Cell]) -> tuple[Mark, ...]:
    """The groups that have any eligible item, the highest rate first."""
    shown = sorted((cell for cell in cells if cell.rate is not None), key=lambda cell: -(cell.rate or 0.0))
    return tuple(Mark(cell.group, cell.rate or 0.0, cell.low, cell.high, not cell.compared) for cell in shown)


def differences(rows: Sequence[Reliability]) -> tuple[Mark, ...]:
    """The groups whose score can be held against their targets, the most understated first."""
    known = [(one.group, one.difference, one.low, one.high) for one in rows]
    shown = [Mark(name, at, low, high) for name, at, low, high in known if at is not None and None not in (low, high)]  # type: ignore[arg-type]
    return tuple(sorted(shown, key=lambda mark: -mark.value))


def dots(marks: Sequence[Mark]) -> Dots:
    """One row for each mark; the axis ends a little beyond the farthest bounds, on the left at 0 or below."""
    top = _nice(max((mark.high for mark in marks), default=1.0))
    bottom = min((mark.low for mark in marks), default=0.0)
    bottom = -_nice(-bottom) if bottom < 0.0 else 0.0
    reach = WIDTH - LABEL - _RIGHT

    def x(value: float) -> float:
        return round(LABEL + reach * (value - bottom) / (top - bottom), 2)

    placed = tuple(
        Dot(mark, round(_TOP + ROW * (row + 0.5), 2), x(mark.value), x(mark.low), x(mark.high))
        for row, mark in enumerate(marks)
    )
    ticks = tuple((x(value), f"{value:.3g}") for value in (bottom + (top - bottom) * part / 4 for part in range(5)))
    return Dots(placed, ticks, x(0.0) if bottom < 0.0 else None, _TOP + ROW * len(marks) + _AXIS)


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

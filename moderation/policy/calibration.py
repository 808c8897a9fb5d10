"""From a score to the estimated probability that the item violates: for readers, never for thresholds."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

Method = Literal["temperature", "sigmoid", "beta", "isotonic"]
Knot = tuple[float, float]
EDGE = 5e-7  # half a step of the score, which keeps its logarithms finite at 0 and 1
# Every curve is mixed with so much of the score itself: a flat stretch still rises, by more than rounding takes away.
SLOPE = 1e-6


@dataclass(frozen=True, slots=True)
class Calibration:
    """A strictly rising map from [0, 1] into [0, 1].

    `curve` (a, b, c) gives log odds of a · ln s - b · ln(1 - s) + c, with a, b >= 0: Platt's sigmoid has a = b, a temperature T
    has a = b = 1 / T, beta calibration is the whole family (Kull, Silva Filho and Flach 2017). `knots` are pairs of score and
    probability, joined by straight lines, flat beyond the ends. Just one of the two is given. Raises ValueError otherwise,
    and for numbers that would let it fall.
    """

    method: Method
    curve: tuple[float, float, float] | None = None
    knots: tuple[Knot, ...] = ()

    def __post_init__(self) -> None:
        if (self.curve is None) == (not self.knots) or (self.method == "isotonic") == (self.curve is not None):
            raise ValueError(f"calibration {self.method}: expected knots of isotonic, a curve of all others")
        if self.curve is not None and (min(self.curve[:2]) < 0.0 or not all(map(math.isfinite, self.curve))):
            raise ValueError(
                f"calibration {self.method}: the curve is {self.curve}; expected finite numbers, a, b >= 0"
            )
        scores, chances = [x for x, _ in self.knots], [y for _, y in self.knots]
        inside = all(0.0 <= number <= 1.0 for number in (*scores, *chances))
        if not inside or scores != sorted(set(scores)) or chances != sorted(chances):
            raise ValueError(f"calibration {self.method}: expected knots in [0, 1], rising")

    def probability(self, score: float) -> float:
        """The estimate at a score in [0, 1]; a higher score always has a higher one."""
        own = self._line(score) if self.curve is None else _odds_curve(self.curve, score)
        return (1.0 - SLOPE) * own + SLOPE * score

    def _line(self, score: float) -> float:
        place = bisect_right(self.knots, score, key=lambda knot: knot[0])
        if place in (0, len(self.knots)):
            return self.knots[min(place, len(self.knots) - 1)][1]
        (x, y), (next_x, next_y) = self.knots[place - 1 : place + 1]
        return y + (next_y - y) * ((score - x) / (next_x - x))


def log_score(score: float) -> tuple[float, float]:
    """The pair ln s and -ln(1 - s), kept finite at the ends."""
    span = 1.0 + 2.0 * EDGE
    return math.log((score + EDGE) / span), -math.log((1.0 - score + EDGE) / span)


def _odds_curve(curve: tuple[float, float, float], score: float) -> float:
    low, high = log_score(score)
    odds = curve[0] * low + curve[1] * high + curve[2]
    return 1.0 / (1.0 + math.exp(-odds)) if odds > -700.0 else 0.0

"""The four-fifths rule, shown with its interval and with how often it fires by luck: a screening rule, never a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from moderation.audit.cells import DISPLAYED, Cells
from moderation.audit.sample import Floats

FOUR_FIFTHS = 0.8
_JUST = 1e-9  # four fifths itself is not under it, whatever the last bit of a quotient says: 12 of 300 over 15 of 300
_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Screening:
    """The smallest rate over the largest, with a 95 % interval on the log scale (None where a rate is 0), and the two groups' places.

    `by_luck` is the chance that the ratio lies under four fifths although all groups have the same rate.
    """

    ratio: float | None
    low: float | None
    high: float | None
    smallest: int
    largest: int
    by_luck: float

    @property
    def fires(self) -> bool:
        """Whether the ratio lies under four fifths."""
        return self.ratio is not None and self.ratio < FOUR_FIFTHS - _JUST


def screen(cells: Cells) -> Screening | None:
    """The rule over the compared groups; None with fewer than two, or where no group has any event."""
    places = np.nonzero(cells.compared)[0]
    rate = cells.rate
    if len(places) < 2 or not cells.events[places].any():
        return None
    smallest, largest = int(places[np.argmin(rate[places])]), int(places[np.argmax(rate[places])])
    ratio = float(rate[smallest] / rate[largest])
    low: float | None = None
    high: float | None = None
    if ratio > 0.0:
        # Katz et al. 1978, at the effective numbers.
        error = np.sqrt(sum((1.0 - rate[one]) / (rate[one] * cells.effective[one]) for one in (smallest, largest)))
        reach = float(norm.isf((1.0 - DISPLAYED) / 2.0) * error)
        low, high = ratio * float(np.exp(-reach)), ratio * float(np.exp(reach))
    pooled = float(cells.events[places].sum() / cells.items[places].sum())
    return Screening(ratio, low, high, smallest, largest, chance_of_firing(pooled, cells.effective[places]))


def chance_of_firing(rate: float, sizes: Floats) -> float:
    """How often equal rates give a ratio under four fifths, in groups of these numbers of independent items (simulated, seeded)."""
    counts = np.maximum(np.round(sizes), 1).astype(np.int64)
    shares = np.random.default_rng(5).binomial(counts, rate, size=(_DRAWS, len(counts))) / counts
    return float((shares.min(axis=1) < (FOUR_FIFTHS - _JUST) * shares.max(axis=1)).mean())

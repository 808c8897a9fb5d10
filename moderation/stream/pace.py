"""How many records are decided together: as many as take a given time, by what the last ones took."""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 16  # records, before anything is known
GROWTH = 2  # a batch is at most so many times the last one: what came from the cache says little of what comes next
WEIGHT = 0.5  # of the last batch in what is expected of the next one


@dataclass(slots=True)
class Pace:
    """The size of the next batch. `seconds` is what a batch may take, `largest` the most records it may have.

    It has `least` where that many take no longer than one, because they are waited for side by side.
    """

    seconds: float
    largest: int
    size: int = FIRST
    least: int = 1
    _each: float | None = None

    def __post_init__(self) -> None:
        self.least = min(self.least, self.largest)
        self.size = max(self.least, min(self.size, self.largest))

    def took(self, records: int, seconds: float) -> None:
        """So many records took so long: slower ones are believed at once, faster ones little by little."""
        if records < 1:
            return
        each = seconds / records
        expected = each if self._each is None else WEIGHT * each + (1.0 - WEIGHT) * self._each
        self._each = max(each, expected)
        wanted = self.seconds / self._each if self._each > 0 else self.largest
        self.size = max(self.least, min(self.largest, GROWTH * max(self.size, 1), int(min(wanted, self.largest))))

"""How a record that kills the process is found: notes beside the committed offsets, which outlive the death, and ever smaller batches.

Before the first batch of a partition is tried, a note is left where it starts. A process that finds another's note of a try there knows that
it did not end well. It goes on with an eighth of the records at a time, each try noted before and after, until the records that may have
been in flight are behind it; each further death divides again by eight. A record that was tried alone and killed so often is not tried
again. Pure: no clock, no client.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Self

SHRINK = 8
_ENOUGH = 21  # deaths: no window is larger than what they divide by


@dataclass(frozen=True, slots=True)
class Caution:
    """What is known of the records from `offset` on, in one partition.

    `deaths` in a row happened between here and `until`; the record at `offset` was tried alone `alone` times and killed each time.
    """

    offset: int
    deaths: int = 0
    until: int = 0
    alone: int = 0

    @classmethod
    def found(cls, offset: int, note: str, *, worker: str, window: int) -> Self:
        """What a note at the committed offset tells a process that begins there.

        `window` is how many records may have been in flight. A note of this very process (after a new assignment) tells of no death, and
        neither does one that says that nothing was being tried, nor one that is none of ours.
        """
        told = _read(note)
        if told is None:
            return cls(offset)
        deaths, until, alone, by = told
        if by in {"", worker}:
            return cls(offset, deaths, until, alone)
        one_at_a_time = _shrunk(deaths) >= window
        return cls(offset, deaths + 1, max(until, offset + window), alone + 1 if one_at_a_time else 0)

    @property
    def suspicious(self) -> bool:
        """Whether what comes next may kill."""
        return self.deaths > 0 and self.offset < self.until

    def size(self, window: int) -> int:
        """How many records may be tried together, at most `window`."""
        return max(1, window // _shrunk(self.deaths)) if self.suspicious else window

    def trying(self, worker: str) -> str:
        """The note to leave before the records at `offset` are tried."""
        return self._note(worker)

    @property
    def resting(self) -> str:
        """The note to leave with a commit up to `offset`: nothing is being tried; empty where nothing is suspected."""
        return self._note("") if self.suspicious else ""

    def at(self, offset: int) -> Caution:
        """What is known where the next record is found at this offset: one that is gone, deleted or compacted away, takes its blame with it."""
        return self if offset == self.offset else self.after(offset)

    def after(self, offset: int) -> Caution:
        """What is known once everything before `offset` is committed: nobody was tried there yet."""
        if offset >= self.until:
            return Caution(offset)
        return replace(self, offset=offset, alone=0)

    def _note(self, by: str) -> str:
        return json.dumps({"deaths": self.deaths, "until": self.until, "alone": self.alone, "by": by})


def _shrunk(deaths: int) -> int:
    """By how much batches are smaller after so many deaths; whoever can commit for the group can write any number in a note."""
    return int(SHRINK ** min(deaths, _ENOUGH))


def _read(note: str) -> tuple[int, int, int, str] | None:
    try:
        told = json.loads(note)
        numbers = [told[name] for name in ("deaths", "until", "alone")]
        if all(isinstance(one, int) and 0 <= one < 2**63 for one in numbers) and isinstance(told["by"], str):
            return numbers[0], numbers[1], numbers[2], told["by"]
    except (ValueError, TypeError, KeyError):
        pass
    return None

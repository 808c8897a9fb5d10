"""One partition's decisions on their way to a sink: which may be sent now, in their order, and which are given up. Pure: it is told the time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from moderation.decision import Again, Delivered, Delivery, Receipt, Refused
from moderation.stream.batch import Record

LONGEST_ASKED = 3600.0  # seconds that a sink may ask us to wait
SPREAD = 0.5  # of a pause is drawn by chance, so that processes do not come back together


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long what failed waits: `first` seconds, doubling up to `longest`, spread, and never shorter than the sink asked for."""

    first: float
    longest: float
    chance: random.Random = field(default_factory=random.Random, compare=False)

    def after(self, failures: int, *, asked: float) -> float:
        """Seconds to wait after so many failures in a row."""
        own = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        return max(own * self.chance.uniform(1.0 - SPREAD, 1.0), min(asked, LONGEST_ASKED))


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a record is set aside: `cause` is a stable word, `message` for people, `attempts` how often it was sent."""

    cause: str
    message: str
    attempts: int


@dataclass(slots=True, eq=False)
class Entry:
    """A record that is not committed: what is to be sent of it, if anything, and how it ended, once it did."""

    record: Record
    delivery: Delivery | None = None
    done: bool = False
    ending: Ending | None = None

    def end(self, ending: Ending | None = None) -> None:
        """It need not be sent any more."""
        self.done, self.ending = True, ending


class Lane:
    """The records of one partition from the first that is not committed on.

    What cannot be taken now holds back all behind it. It is given up where it failed `tries` times, and each time others had got through since
    the time before: what fails beside everything else says nothing of itself. Where there are no others, since all
    wait behind it, the next one in line is tried in its place, right after it failed; if that one gets through, and the first fails once more, the
    first is given up.
    """

    def __init__(self, tries: int, pauses: Pauses) -> None:
        self._tries, self._pauses = tries, pauses
        self._entries: deque[Entry] = deque()
        self._failures = self._seen = self._busy = 0
        self._blamed = self._alone = (
            0  # failures beside which others got through, and those in a row beside which nobody did
        )
        self._doubted = False  # whether another one got through in the place of the first
        self._reason = ""
        self.not_before = self.last_sent = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """One more record, behind all others."""
        self._entries.append(entry)

    def settled(self) -> Iterator[Entry]:
        """The entries that are done, up to the first that is not; they are out of the lane."""
        while self._entries and self._entries[0].done:
            yield self._entries.popleft()

    @property
    def suspect(self) -> bool:
        """Whether its first one failed when it was sent last."""
        return self._failures > 0

    @property
    def lonely(self) -> bool:
        """Whether its first one fails, and nobody is there who could tell whose fault it is: neither another lane nor one behind it."""
        return self._alone > 0 and len(self._open(2)) < 2

    def next(self, size: int, now: float) -> list[Entry]:
        """What may be sent now: at most so many, in order; of a lane whose first one failed, that one alone."""
        if now < self.not_before:
            return []
        return self._open(1 if self._failures else size)

    def substitute(self) -> list[Entry]:
        """The one behind the first, where it is time to try it in the first one's place."""
        return self._open(2)[1:] if self._alone and self._alone % self._tries == 0 else []

    def told(self, sent: Sequence[Entry], receipts: Sequence[Receipt], *, through: int, now: float) -> None:
        """What the sink said of what was sent. `through` counts all that got through so far, in whichever lane."""
        (first,) = self._open(1)
        stands_in = sent[0] is not first
        for entry, receipt in zip(sent, receipts, strict=True):
            if not isinstance(receipt, Delivered | Refused):
                again = receipt if isinstance(receipt, Again) else Again("gone", tried=False)
                self._failed(None if stands_in else entry, again, through, now)
                return  # a sink that took later ones all the same will get them again
            attempts = 1 if stands_in else self._failures + 1
            entry.end(Ending(receipt.reason, "the sink refused it", attempts) if isinstance(receipt, Refused) else None)
            if stands_in:
                self._doubted, self._alone, self.not_before = True, 0, 0.0
            else:
                self._begin(through)

    def _failed(self, first: Entry | None, again: Again, through: int, now: float) -> None:
        """The first one failed, or what stood in for it; a sink that is only busy says nothing of it."""
        blames = first and again.tried and not again.busy
        self._busy = self._busy + 1 if again.busy else 0
        if blames:
            self._failures += 1
            others = through > self._seen
            self._blamed, self._alone = self._blamed + others, 0 if others else self._alone + 1
            self._seen, self._reason = through, again.reason
        self.not_before = now + self._pauses.after(max(1, self._failures + self._busy), asked=again.seconds)
        if first and blames and (self._doubted or self._blamed >= self._tries):
            why = "the next one got through in its place" if self._doubted else "others got through meanwhile"
            first.end(Ending(self._reason, f"failed {self._failures} times, and {why}", self._failures))
            self._begin(through)

    def _begin(self, through: int) -> None:
        """With the next one in line."""
        self._failures = self._blamed = self._alone = self._busy = 0
        self._doubted = False
        self._seen, self._reason, self.not_before = through, "", 0.0

    def _open(self, size: int) -> list[Entry]:
        return list(islice((one for one in self._entries if not one.done), size))

"""How many parts the items had that a lock was certified on: what the thresholds hold for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from moderation.detector.base import revision_of
from moderation.item import ContentItem
from moderation.policy.lock import LockedReader
from moderation.rollout.readers import parts_by_reader
from moderation.rollout.running import RunningPolicy


@dataclass(slots=True)
class MostParts:
    """The largest numbers of parts that the policy judges of one item, its own and those of each reader: above one a verdict is at most `review`."""

    policy: RunningPolicy
    most: Counter[str] = field(default_factory=Counter)

    def see(self, items: Sequence[ContentItem]) -> None:
        """Count these items, as they were read, too."""
        for item in items:
            self.most |= parts_by_reader(item, self.policy.scope(item))

    @property
    def own(self) -> int:
        """Of an item's own."""
        return self.most[""]

    def readers(self) -> tuple[LockedReader, ...]:
        """The readers in force that may derive parts for the policy, also those that derived none."""
        return tuple(LockedReader(one.id, revision_of(one), self.most[one.id]) for one in self.policy.readers)

"""Records that cannot be trained on: counted by reason, with the first few keys of each, so that nothing is lost in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

_KEYS_KEPT = 5


class Broken:
    """How many records were left out, why, and which came first.

    `counts` maps a reason (the stable word of an ItemError) to a number, `keys` the same reasons to the first keys met.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.keys: dict[str, tuple[str, ...]] = {}

    @property
    def total(self) -> int:
        """All reasons together."""
        return self.counts.total()

    def add(self, reason: str, key: str) -> None:
        """Count one record."""
        self._add(reason, 1, (key,))

    def update(self, other: Broken) -> None:
        """Count all that `other` counted."""
        for reason, count in other.counts.items():
            self._add(reason, count, other.keys[reason])

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {reason: [count, *self.keys[reason]] for reason, count in self.counts.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Broken:
        """The counts that `to_json` wrote."""
        found = cls()
        for reason, (count, *keys) in stored.items():
            found._add(reason, count, tuple(keys))
        return found

    def _add(self, reason: str, count: int, keys: tuple[str, ...]) -> None:
        self.counts[reason] += count
        self.keys[reason] = (self.keys.get(reason, ()) + keys)[:_KEYS_KEPT]

    def __str__(self) -> str:
        """Such as `3 no_caption (000012, 000044, 000101)`, the most frequent reason first."""
        parts = [
            f"{count} {reason} ({', '.join(self.keys[reason])}{', …' if count > len(self.keys[reason]) else ''})"
            for reason, count in self.counts.most_common()
        ]
        return "; ".join(parts) or "none"

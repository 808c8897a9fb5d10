"""Bands: which scores get which action, once a stronger action has taken its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moderation.policy.lock import LockedAction


@dataclass(frozen=True, slots=True)
class Band:
    """Scores from `low` up to below `high` get `action`; `above` is the stronger action that begins at `high`, None at the top.

    The band is empty where `high` is at or below `low`: every score the action asks for gets the stronger one.
    """

    action: str
    low: float
    high: float | None = None
    above: str | None = None

    @property
    def empty(self) -> bool:
        """Whether no score can get this action."""
        return self.high is not None and self.high <= self.low


def bands(actions: Iterable[LockedAction], order: Sequence[str]) -> tuple[Band, ...]:
    """The bands of all certified actions, the strongest first; `order` names actions by force, weakest first."""
    lows = {one.action: one.threshold for one in actions if one.threshold is not None}
    found: list[Band] = []
    for action in sorted(lows, key=order.index, reverse=True):
        above = min(found, key=lambda band: band.low, default=None)
        found.append(Band(action, lows[action], *((above.low, above.action) if above else ())))
    return tuple(found)

"""How much a live build may do: the share of items that it acts on, and how many an hour. What is held back is marked, never lost.

A limit weakens what is asked of the platform and leaves the verdict as it is, so that tests, audits and backtests see what was found.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from moderation.decision import LIVE, Verdict
from moderation.policy.decide import Terms

ROLLOUT, QUOTA = "rollout", "quota"
HOUR = 3600
KEPT = 24  # hours
_WHOLE = 2**64


class Counter(Protocol):
    """Counts the items of an hour that got a policy's actions. Safe to call from several threads."""

    def take(self, policy: str, per_hour: int) -> bool:
        """Counts one more item, and tells whether it is within the quota."""
        ...


class LocalCounter:
    """Counts in this process alone, which may take `share` of each quota, rounded up; `clock` gives seconds since 1970.

    A few hours are kept, so that a clock that is set back and forth finds what was counted.
    """

    def __init__(self, *, share: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        self._share, self._clock = share, clock
        self._taken: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def take(self, policy: str, per_hour: int) -> bool:
        """Counts one more item, and tells whether it is within this process's part of the quota."""
        return self.within(self.count(policy), per_hour)

    def within(self, count: int, per_hour: int) -> bool:
        """Whether so many are within this process's part of a quota."""
        return count <= math.ceil(per_hour * self._share)

    def count(self, policy: str) -> int:
        """Counts one more item, and tells how many there are in this hour."""
        hour = int(self._clock()) // HOUR
        with self._lock:
            if (hour, policy) not in self._taken:
                kept = sorted({one for one, _ in self._taken} | {hour})[-KEPT:]
                self._taken = {key: count for key, count in self._taken.items() if key[0] in {hour, *kept}}
            self._taken[hour, policy] = self._taken.get((hour, policy), 0) + 1
            return self._taken[hour, policy]


class Limits:
    """Holds verdicts to their policies' limits; `order` names all actions, weakest first."""

    def __init__(self, counter: Counter, order: Sequence[str]) -> None:
        self._counter, self._order = counter, order

    def hold(self, item: str, verdict: Verdict, terms: Terms) -> Verdict:
        """The verdict, marked where a limit changes what is asked for. Only live builds are limited: no other acts."""
        if terms.status != LIVE or verdict.action is None:
            return verdict
        if terms.share < 1.0 and not in_share(terms.policy, item, terms.share):
            return replace(verdict, limit=ROLLOUT, limited_to=None)
        quota = terms.quota
        if quota is None or self._order.index(verdict.action) <= self._order.index(quota.then):
            return verdict
        if self._counter.take(terms.policy, quota.per_hour):
            return verdict
        return replace(verdict, limit=QUOTA, limited_to=quota.then)


def in_share(policy: str, item: str, share: float) -> bool:
    """Whether a policy that acts on this share of items acts on this one: always the same answer, and still yes when the share grows.

    Policies draw independently of each other. The item's place in [0, 1) is the first 64 bits of a SHA-256 over both ids.
    """
    digest = hashlib.sha256(json.dumps([policy, item]).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _WHOLE

"""How much a live build may do: the share of items that it acts on, and how many an hour. What is held back is marked, never lost.

A limit weakens what is asked of the platform and leaves the verdict as it is, so that tests, audits and backtests see what was found.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from moderation.decision import LIVE, Verdict
from moderation.policy.decide import Terms
from moderation.policy.lock import Quota

ROLLOUT, QUOTA = "rollout", "quota"
HOUR = 3600
KEPT = 24  # hours
_WHOLE = 2**64


class Counter(Protocol):
    """Counts the items of an hour that got a policy's actions. Safe to call from several threads."""

    def take(self, policy: str, per_hour: int, items: int) -> int:
        """Counts so many more items, and tells how many of them are within the quota: the first ones. Those beyond it need not be counted."""
        ...


class LocalCounter:
    """Counts in this process alone, which may take `share` of each quota, rounded up; `clock` gives seconds since 1970.

    A few hours are kept, so that a clock that is set back and forth finds what was counted.
    """

    def __init__(self, *, share: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        self._share, self._clock = share, clock
        self._taken: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def take(self, policy: str, per_hour: int, items: int) -> int:
        """Tells how many of so many more items are within this process's part of the quota, the first ones, and counts those."""
        with self._lock:
            taken = within(self._add(policy, 0) + items, math.ceil(per_hour * self._share), items)
            self._add(policy, taken)  # what is refused uses up nothing of a quota that is raised within the hour
            return taken

    def count(self, policy: str, items: int) -> int:
        """Counts so many more items, and tells how many there are in this hour."""
        with self._lock:
            return self._add(policy, items)

    def _add(self, policy: str, items: int) -> int:
        hour = int(self._clock()) // HOUR
        if (hour, policy) not in self._taken:
            kept = sorted({one for one, _ in self._taken} | {hour})[-KEPT:]
            self._taken = {key: count for key, count in self._taken.items() if key[0] in {hour, *kept}}
        self._taken[hour, policy] = self._taken.get((hour, policy), 0) + items
        return self._taken[hour, policy]


class Limits:
    """Holds verdicts to their policies' limits; `order` names all actions, weakest first."""

    def __init__(self, counter: Counter, order: Sequence[str]) -> None:
        self._counter, self._order = counter, order

    def hold(self, found: Iterable[tuple[str, Verdict, Terms]]) -> list[Verdict]:
        """Verdicts on items, by the item's id, marked where a limit changes what is asked for. Only live builds are limited: no other acts.

        A quota is asked once for all that it counts here, as what counts may be a network away; the first ones get what is left of it.
        """
        held: list[Verdict] = []
        counted: dict[str, tuple[Quota, list[int]]] = {}
        for item, one, terms in found:
            verdict = one
            if terms.status == LIVE and verdict.action is not None:
                if terms.share < 1.0 and not in_share(terms.policy, item, terms.share):
                    verdict = replace(verdict, limit=ROLLOUT, limited_to=None)
                elif terms.quota and self._order.index(verdict.action) > self._order.index(terms.quota.then):
                    counted.setdefault(terms.policy, (terms.quota, []))[1].append(len(held))
            held.append(verdict)
        for policy, (quota, places) in counted.items():
            for place in places[self._counter.take(policy, quota.per_hour, len(places)) :]:
                held[place] = replace(held[place], limit=QUOTA, limited_to=quota.then)
        return held


def within(count: int, quota: int, items: int) -> int:
    """How many of the last `items` of `count` are within a quota."""
    return min(items, max(0, quota - (count - items)))


def in_share(policy: str, item: str, share: float) -> bool:
    """Whether a policy that acts on this share of items acts on this one: always the same answer, and still yes when the share grows.

    Policies draw independently of each other. The item's place in [0, 1) is the first 64 bits of a SHA-256 over both ids.
    """
    digest = hashlib.sha256(json.dumps([policy, item]).encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _WHOLE

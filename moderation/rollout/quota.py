"""How many items of this hour got a policy's actions, counted in Redis for all workers together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from moderation.breaker import Breaker, RestingError
from moderation.embedding.redis_cache import FAULTS
from moderation.rollout.limits import HOUR, LocalCounter, within


class RedisCounter:
    """Counts in Redis, for all workers of a tenant; where Redis is away each counts its own part (`alone`).

    A batch that is decided twice is counted twice: a quota is rather used up early than broken. One call a batch and policy, and none in an
    hour whose quota is used up. Of what is refused no more than a batch of each worker counts, should the quota be raised within the hour.
    """

    def __init__(
        self,
        client: Any,
        *,
        tenant: str,
        alone: LocalCounter,
        breaker: Breaker | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._tenant, self._alone, self._clock = client, tenant, alone, clock
        self._breaker = breaker or Breaker(name="redis, for quotas,")
        # Policy, hour, and the quota that is used up: a reload may raise it.
        self._full: set[tuple[str, int, int]] = set()

    def take(self, policy: str, per_hour: int, items: int) -> int:
        """Counts so many more items, and tells how many of them are within the quota of all workers: the first ones."""
        hour = int(self._clock()) // HOUR
        if (policy, hour, per_hour) in self._full:
            return 0
        count = self._count(f"quota/{self._tenant}/{policy}/{hour}", items)
        if count is None:
            return self._alone.take(policy, per_hour, items)
        # A Redis that was flushed, or needed the room, may have forgotten.
        count = max(count, self._alone.count(policy, items))
        if count >= per_hour:
            self._full = {one for one in self._full if one[1] == hour} | {(policy, hour, per_hour)}
        return within(count, per_hour, items)

    def _count(self, key: str, items: int) -> int | None:
        """The count with these; None where Redis is left alone, or fails."""
        try:
            with self._breaker.watch():
                pipe = self._client.pipeline(transaction=False)
                pipe.incrby(key, items)
                pipe.expire(key, 2 * HOUR)
                return int(pipe.execute()[0])
        except (RestingError, *FAULTS):
            return None

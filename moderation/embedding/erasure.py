"""Content that must be forgotten: every vector of it in Redis, whichever encoder made it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import redis

from moderation.embedding.redis_cache import KEYS_PER_CALL
from moderation.errors import SettingsError

PREFIX = "emb"


def erase(
    client: Any, digests: Collection[str], *, tenant: str, advance: Callable[[int], None] = lambda _count: None
) -> int:
    """Forgets every vector of these contents, named by SHA-256 in hex, of one tenant; returns how many there were.

    All keys of the tenant are looked at, since content may have been encoded by encoders that nobody remembers; `advance` is told how
    many were. Raises SettingsError where Redis cannot be asked: then nothing is known to be forgotten.
    """
    wanted = {digest.encode() for digest in digests}
    erased, looked = 0, 0
    found: list[bytes] = []
    try:
        for key in client.scan_iter(match=f"{PREFIX}/{tenant}/*", count=1000):
            looked += 1
            if looked % 1000 == 0:
                advance(1000)
            if key.rpartition(b"/")[2] in wanted:
                found.append(key)
        for start in range(0, len(found), KEYS_PER_CALL):
            erased += int(client.unlink(*found[start : start + KEYS_PER_CALL]))
    except (redis.RedisError, OSError) as error:
        raise SettingsError(
            f"settings: cache.redis.url: Redis cannot be asked: {type(error).__name__}; {erased} vectors were erased before, the others are not known to be"
        ) from None
    return erased

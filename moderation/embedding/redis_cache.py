"""Vectors in Redis, shared by all workers. Redis away, slow or full means slower, never wrong and never stalled.

Values are written once for a key and never change, so that only memory and privacy ask for an end to them. Nothing but vectors is kept:
no content, no verdict. Calls have one short time limit and are never tried again; after a few failures a breaker leaves Redis alone.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from moderation.breaker import Breaker, RestingError
from moderation.errors import SettingsError

_log = logging.getLogger(__name__)

OLDEST = 7  # SET with both NX and GET came with Redis 7
KEYS_PER_CALL = 256  # the fastest size of an MGET of such values
SLOW = 0.5  # a call that takes this part of the time limit counts as a failure, though its answer is used
JITTER = 0.1  # of the time to live, each way: what was written together does not leave together

FAULTS = (redis.RedisError, OSError)  # what the client raises where Redis is away, refuses, or takes too long

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RedisCounts:
    """Counts since the start: calls that failed, that were slow, that the open breaker kept back; values that Redis would not take."""

    errors: int = 0
    slow: int = 0
    bypassed: int = 0
    refused: int = 0


def connect(url: str, *, timeout_seconds: float, max_connections: int = 8) -> Any:
    """A client for redis:// or rediss:// (TLS), user, password and database in the URL. Nothing is reached yet.

    Raises SettingsError for a URL that is none; its text is never shown, since it may hold a password.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            max_connections=max_connections,
            health_check_interval=0,
            protocol=2,
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"settings: cache.redis.url: {type(error).__name__}; expected redis://HOST:PORT/DATABASE, or rediss:// for TLS"
        ) from None


class RedisCache:
    """An embedding cache in Redis; `ttl_seconds` is how long a value lives, give or take a tenth. Safe to call from several threads."""

    def __init__(
        self,
        client: Any,
        *,
        ttl_seconds: float,
        timeout_seconds: float,
        breaker: Breaker | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.breaker = breaker or Breaker(name="redis")
        self._client, self._ttl, self._chance = client, ttl_seconds, chance or random.Random()
        self._slow = SLOW * timeout_seconds
        self._counts, self._lock = RedisCounts(), threading.Lock()
        self._refusing = False

    @property
    def counts(self) -> RedisCounts:
        """The counters as they stand."""
        return self._counts

    def check(self) -> None:
        """Reach Redis once, before any work. Raises SettingsError where it is away, refuses us, or is too old."""
        try:
            version = str(self._client.info("server").get("redis_version", ""))
        except FAULTS as error:
            raise SettingsError(
                f"settings: cache.redis.url: Redis cannot be used: {type(error).__name__}; is it there, are user and password right?"
            ) from None
        if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < OLDEST:
            raise SettingsError(f"settings: cache.redis.url: found Redis {version}; expected {OLDEST} or newer")

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, None where there is none or Redis is away."""
        found: list[bytes | None] = []
        for some in _chunks(keys):
            values = self._call(partial(self._client.mget, some))
            found += values if values is not None else [None] * len(some)
        return [one if isinstance(one, bytes) else None for one in found]

    def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Keep values whose keys are new; returns what stands for each key now: the first writer's value, ours where Redis is away."""
        stands = dict(values)
        for some in _chunks(list(values)):
            answers = self._call(partial(self._write, {key: values[key] for key in some}))
            errors = [one for one in answers or () if isinstance(one, Exception)]
            stands |= {key: one for key, one in zip(some, answers or (), strict=False) if isinstance(one, bytes)}
            if answers:
                self._count(refused=len(errors))  # full, or read only: nothing is kept, nothing is lost
                self._tell(errors)
        return stands

    def drop_many(self, keys: Iterable[str]) -> None:
        """Forget keys; those not there are no error. What Redis does not hear of lives until its end."""
        for some in _chunks(list(keys)):
            self._call(partial(self._client.unlink, *some))

    def _write(self, values: Mapping[str, bytes]) -> list[object]:
        """For each key None where ours was written, else the value that stood there, or the error."""
        pipe = self._client.pipeline(transaction=False)
        for key, value in values.items():
            seconds = self._ttl * self._chance.uniform(1.0 - JITTER, 1.0 + JITTER)
            pipe.set(key, value, nx=True, get=True, px=max(1, round(1000 * seconds)))
        return list(pipe.execute(raise_on_error=False))

    def _tell(self, errors: Sequence[Exception]) -> None:
        """One line where values are refused that were taken before, and one where they are taken again."""
        if errors and not self._refusing:
            _log.warning("redis takes no values: %s", type(errors[0]).__name__)
        elif self._refusing and not errors:
            _log.info("redis takes values again")
        self._refusing = bool(errors)

    def _call(self, work: Callable[[], Result]) -> Result | None:
        """What Redis answers; None where it is left alone, or fails."""
        try:
            with self.breaker.watch(slow=self._slow) as call:
                answer = work()
        except RestingError:
            self._count(bypassed=1)
            return None
        except FAULTS:
            self._count(errors=1)
            return None
        if call.slow:
            self._count(slow=1)
        return answer

    def _count(self, **more: int) -> None:
        with self._lock:
            self._counts = replace(
                self._counts, **{name: getattr(self._counts, name) + count for name, count in more.items()}
            )


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), KEYS_PER_CALL):
        yield keys[start : start + KEYS_PER_CALL]

"""Quotas counted in a real Redis: all workers together, and each for itself where Redis is away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from moderation.embedding.redis_cache import connect
from moderation.rollout.limits import HOUR, LocalCounter
from moderation.rollout.quota import RedisCounter
from tests.services.redis import Redis

pytestmark = pytest.mark.needs_redis


def counter_of(server: Redis, *, share: float = 1.0, tenant: str = "shop", hour: int = 5) -> RedisCounter:
    client = connect(f"redis://{server.address}/0", timeout_seconds=0.5)

    def clock() -> float:
        return hour * HOUR + 1.0

    return RedisCounter(client, tenant=tenant, alone=LocalCounter(share=share, clock=clock), clock=clock)


def test_workers_use_up_one_quota_together(server: Redis) -> None:
    workers = [counter_of(server) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda one: sum(one.take("weapons", 50, items) for items in (1, 9, 30)), workers))
    assert sum(taken) == 50
    assert counter_of(server).take("fire", 50, 1)
    assert counter_of(server, tenant="other").take("weapons", 50, 1)
    assert counter_of(server, hour=6).take("weapons", 50, 1)
    client = connect(f"redis://{server.address}/0", timeout_seconds=5.0)
    assert set(client.scan_iter()) == {
        b"quota/shop/weapons/5", b"quota/shop/fire/5", b"quota/other/weapons/5", b"quota/shop/weapons/6",
    }  # fmt: skip
    assert all(0 < client.ttl(key) <= 2 * HOUR for key in client.scan_iter())


def test_a_quota_that_is_used_up_asks_redis_no_more(server: Redis) -> None:
    one = counter_of(server)
    assert [one.take("weapons", 2, 1) for _ in range(5)] == [1, 1, 0, 0, 0]
    client = connect(f"redis://{server.address}/0", timeout_seconds=5.0)
    assert int(client.get("quota/shop/weapons/5")) == 2


def test_without_redis_each_worker_takes_its_own_part(server: Redis) -> None:
    one = counter_of(server, share=0.3)
    assert one.take("weapons", 10, 1)
    server.stop()
    assert [one.take("weapons", 10, 1) for _ in range(6)] == [1, 1, 0, 0, 0, 0]
    assert [one.take("weapons", quota, 5) for quota in (10, 10, 20)] == [0, 0, 3]  # one that is raised


def test_a_redis_that_forgot_lets_no_worker_begin_anew(server: Redis) -> None:
    one = counter_of(server)
    taken = [one.take("weapons", 4, 1) for _ in range(3)]
    connect(f"redis://{server.address}/0", timeout_seconds=5.0).flushall()
    assert [*taken, *(one.take("weapons", 4, 1) for _ in range(3))] == [1, 1, 1, 1, 0, 0]


def test_a_quota_that_is_raised_within_the_hour_counts_at_once_for_every_worker(server: Redis) -> None:
    one, other = counter_of(server), counter_of(server)
    assert [one.take("weapons", 5, 8), *(one.take("weapons", 5, 100) for _ in range(5))] == [5, 0, 0, 0, 0, 0]
    assert [worker.take("weapons", 50, 8) for worker in (one, other, one)] == [8, 8, 8]
    assert one.take("weapons", 5, 1) == 0

from __future__ import annotations

import threading

import numpy as np
import pytest

from moderation.embedding.cache import MemoryCache, TieredCache, cache_key, unpack
from moderation.encoder.base import Fingerprint
from moderation.item import Modality
from tests.fakes import packed


def unit(width: int = 8, seed: int = 0) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=width)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def test_a_key_reads_as_its_parts() -> None:
    key = cache_key(
        prefix="emb", tenant="shop-1", fingerprint=Fingerprint("ab12", "torch-cpu-float32"), modality=Modality.IMAGE, digest="00ff"
    )  # fmt: skip
    assert key == "emb/shop-1/ab12/torch-cpu-float32/image/00ff"


def test_a_value_opens_with_its_header() -> None:
    head, values = packed(unit()).split(b"\n", 1)
    assert head.startswith(b"mv1 f16 8 ")
    assert len(head.split(b" ")[3]) == 8
    assert values == unit().tobytes()


def test_the_checksum_is_crc_32c() -> None:
    """RFC 3720's polynomial, not zlib's: the check value of "123456789" is e3069283."""
    import crc32c

    assert crc32c.crc32c(b"123456789") == 0xE3069283
    data = packed(unit())
    head, values = data.split(b"\n", 1)
    covered = head[: head.rindex(b" ") + 1] + values
    assert int(head[-8:], 16) == crc32c.crc32c(covered)


@pytest.mark.parametrize("vector", [np.zeros(8), np.ones(8), np.full(8, np.nan), np.array([np.inf] + [0.0] * 7)])
def test_a_vector_that_is_not_a_unit_is_a_miss(vector: np.ndarray) -> None:
    assert not unpack([packed(vector.astype(np.float16))], 8)[1].any()


@pytest.mark.parametrize("width", [4, 7, 9, 16])
def test_a_value_of_another_width_is_a_miss(width: int) -> None:
    assert not unpack([packed(unit(8))], width)[1].any()


def test_the_least_recently_used_value_leaves_first() -> None:
    cache = MemoryCache(4 * (1 + 100 + 250))
    for name in "abcd":
        cache.put_many({name: bytes(100)})
    cache.get_many(["a"])
    cache.put_many({"e": bytes(100)})
    assert [value is not None for value in cache.get_many("abcde")] == [True, False, True, True, True]
    assert cache.size <= cache.max_bytes


def test_the_first_writer_wins() -> None:
    cache = MemoryCache(10_000)
    assert cache.put_many({"k": b"first"}) == {"k": b"first"}
    assert cache.put_many({"k": b"second", "other": b"x"}) == {"k": b"first", "other": b"x"}
    assert cache.get_many(["k"]) == [b"first"]


def test_dropping_forgets_and_gives_the_bytes_back() -> None:
    cache = MemoryCache(10_000)
    cache.put_many({"k": b"v"})
    cache.drop_many(["k", "never there"])
    assert (cache.get_many(["k"]), cache.size, len(cache)) == ([None], 0, 0)


@pytest.mark.parametrize("max_bytes", [0, 100])
def test_a_cache_too_small_keeps_nothing_and_answers(max_bytes: int) -> None:
    cache = MemoryCache(max_bytes)
    assert cache.put_many({"k": bytes(1000)}) == {"k": bytes(1000)}
    assert (cache.get_many(["k"]), cache.size) == ([None], 0)


def test_threads_share_it() -> None:
    cache = MemoryCache(50_000)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(500):
            name = str(random.integers(200))
            cache.put_many({name: name.encode() * 50})
            (value,) = cache.get_many([name])
            assert value in (None, name.encode() * 50)
            cache.drop_many([str(random.integers(200))])

    failures: list[BaseException] = []
    threading.excepthook, before = (lambda args: failures.append(args.exc_value)), threading.excepthook  # type: ignore[arg-type]
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.excepthook = before
    assert failures == []
    assert cache.size == sum(len(name) + len(value) + 250 for name, value in cache._values.items()) <= 50_000


def test_two_tiers_are_asked_in_turn_agree_with_the_far_one_and_forget_together() -> None:
    near, far, other = MemoryCache(10_000), MemoryCache(10_000), MemoryCache(10_000)
    both = TieredCache(near, far)
    assert both.put_many({"a": b"first"}) == {"a": b"first"}
    assert TieredCache(other, far).put_many({"a": b"second"}) == {"a": b"first"}  # the first writer's, for every worker
    assert other.get_many(["a"]) == [b"first"]
    far.put_many({"b": b"afar"})
    assert both.get_many(["a", "b", "c"]) == [b"first", b"afar", None]
    assert near.get_many(["b"]) == [b"afar"]
    both.drop_many(iter(["a", "b"]))
    assert [one.get_many(["a", "b"]) for one in (near, far)] == [[None, None]] * 2

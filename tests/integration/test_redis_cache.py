"""The cache in Redis on a real server: what it keeps, and that no fault of it ever changes a vector or stalls a caller."""

from __future__ import annotations

import io
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from moderation import assemble
from moderation.breaker import Breaker, State
from moderation.cli import main
from moderation.embedding.cache import MemoryCache, TieredCache, unpack
from moderation.embedding.embedder import Embedder
from moderation.embedding.redis_cache import KEYS_PER_CALL, RedisCache, connect
from moderation.errors import SettingsError
from moderation.item import Part
from moderation.plugin_sections import ReaderSettings, TileSettings
from moderation.reader.step import Readers
from moderation.reader.tiles import Tiles
from moderation.sections import CacheSettings, RedisSettings
from moderation.settings import ImageLimits, Settings
from tests.fakes import FakeEncoder, item, packed, picture
from tests.services.redis import Redis

pytestmark = pytest.mark.needs_redis

TIMEOUT = 0.25


def cache_of(server: Redis, *, ttl: float = 1000.0, **options: Any) -> RedisCache:
    client = connect(f"redis://{server.address}/0", timeout_seconds=TIMEOUT)
    return RedisCache(client, ttl_seconds=ttl, timeout_seconds=TIMEOUT, **options)


def plain(server: Redis) -> Any:
    return connect(f"redis://{server.address}/0", timeout_seconds=5.0)


def test_what_is_put_is_found_and_dropped_and_the_first_writer_wins(server: Redis) -> None:
    one, other = cache_of(server), cache_of(server)
    values = {f"k{number}": bytes([number % 251]) * 20 for number in range(2 * KEYS_PER_CALL + 7)}
    assert one.put_many(values) == values
    assert other.get_many([*values, "absent"]) == [*values.values(), None]
    assert other.put_many({"k1": b"second", "new": b"first"}) == {"k1": values["k1"], "new": b"first"}
    assert one.get_many(["k1"]) == [values["k1"]]
    other.drop_many(["k1", "absent"])
    assert one.get_many(["k1", "k2"]) == [None, values["k2"]]
    assert (one.get_many([]), one.put_many({})) == ([], {})
    one.drop_many([])
    assert one.counts == other.counts == type(one.counts)()


def test_a_value_lives_as_long_as_stated_give_or_take_a_tenth(server: Redis) -> None:
    cache_of(server, ttl=1000.0).put_many({f"k{number}": b"v" for number in range(200)})
    client = plain(server)
    lives = [client.pttl(f"k{number}") / 1000 for number in range(200)]
    assert all(880 < life <= 1100 for life in lives)
    assert max(lives) - min(lives) > 100  # spread over the tenth on both sides


def test_nothing_but_vectors_is_kept_and_every_key_stands_under_its_prefix(server: Redis) -> None:
    embedder = Embedder(FakeEncoder(), cache_of(server), tenant="shop")
    embedder.embed([picture(0.25), Part.text("0.5")])
    client = plain(server)
    for key in list(client.scan_iter()):
        assert key.startswith(b"emb/shop/0123456789abcdef/fake/")
        assert unpack([client.get(key)], embedder.encoder.card.width)[1].all()


def test_content_is_forgotten_whichever_encoder_saw_it_and_nothing_else_is(
    server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = picture(0.25), picture(0.5)
    for encoder in (FakeEncoder(), FakeEncoder(identity="feedfacefeedface")):
        Embedder(encoder, cache_of(server), tenant="shop").embed([one, other])
    Embedder(FakeEncoder(), cache_of(server), tenant="another").embed([one])
    (tmp_path / "one.png").write_bytes(one.content)
    monkeypatch.setenv("MODERATION_CACHE__REDIS__URL", f"redis://{server.address}/0")
    monkeypatch.setenv("MODERATION_CACHE__TENANT", "shop")
    assert main.run(["cache", "erase", str(tmp_path / "one.png"), "0" * 64]) == 0
    assert "erased 2 vectors of 2 contents" in capsys.readouterr().out
    left = sorted(key.decode().split("/")[1] for key in plain(server).scan_iter())
    assert left == ["another", "shop", "shop"]
    assert not [key for key in plain(server).scan_iter("emb/shop/*") if one.digest.encode() in key]
    assert main.run(["cache", "erase", "no such file"]) == 13
    assert main.run(["doctor", "--json"]) == 0
    capsys.readouterr()
    server.stop()
    assert main.run(["cache", "erase", one.digest]) == 2
    assert "Redis cannot be asked" in capsys.readouterr().err
    assert main.run(["doctor"]) == 2
    assert "FAIL  redis" in capsys.readouterr().out


def test_what_readers_derive_from_a_file_is_forgotten_with_it(
    server: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    Image.effect_noise((256, 256), 60).save(file, "PNG")
    whole = Part.image(file.getvalue())
    (read,) = Readers([Tiles(TileSettings(), ImageLimits())], ReaderSettings()).read([item(whole)])
    assert len(read.parts) == 1 + 9
    (tmp_path / "one.png").write_bytes(whole.content)
    monkeypatch.setenv("MODERATION_CACHE__REDIS__URL", f"redis://{server.address}/0")
    for use, told in (("[]", "erased 1 vector of 1 content"), ('["tiles"]', "erased 10 vectors of 1 content")):
        plain(server).flushall()
        one_key_each = {f"emb/default/identity/numeric/image/{part.digest}": b"vector" for part in read.parts}
        plain(server).mset(one_key_each)
        monkeypatch.setenv("MODERATION_READERS__USE", use)
        assert main.run(["cache", "erase", str(tmp_path / "one.png")]) == 0
        assert told in capsys.readouterr().out
    assert not list(plain(server).scan_iter())


PICTURES = [picture(round(0.01 * number, 2)) for number in range(1, 60)]


def vectors(cache: Any) -> np.ndarray:
    return Embedder(FakeEncoder(), cache).embed(PICTURES).vectors


def freeze(server: Redis) -> None:
    server.send(signal.SIGSTOP)


def restart(server: Redis) -> None:
    server.stop()
    server.start()
    server.wait_until_ready()


def fill_up(server: Redis) -> None:
    plain(server).config_set("maxmemory", "100kb")


def read_only(server: Redis) -> None:
    plain(server).replicaof("127.0.0.1", 1)


def spoil(server: Redis) -> None:
    client = plain(server)
    for number, key in enumerate(list(client.scan_iter())):
        if number % 3 == 0:
            client.set(key, b"nonsense")
        elif number % 3 == 1:
            client.delete(key)
            client.rpush(key, "a list")
        else:
            client.set(key, packed(np.zeros(3, np.float16)))


def forge(server: Redis) -> None:
    """A value that is whole and of norm 1, but of another width."""
    client = plain(server)
    for key in list(client.scan_iter()):
        client.set(key, packed(np.array([1.0, 0.0], np.float16)))


def flush(server: Redis) -> None:
    plain(server).flushall()


FAULTS = [Redis.kill, freeze, restart, fill_up, read_only, spoil, forge, flush]


@pytest.mark.parametrize("near", [False, True], ids=["redis alone", "memory before it"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_fault_changes_a_vector(server: Redis, fault: Any, near: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The same bytes as without any cache: before the fault, in it, and once it is over."""
    wanted = vectors(MemoryCache(0))
    far = cache_of(server, breaker=Breaker(first_delay=0.01, last_delay=0.02))
    cache = TieredCache(MemoryCache(2_000 if near else 0), far)
    assert np.array_equal(vectors(cache), wanted)
    fault(server)
    for _ in range(4):
        assert np.array_equal(vectors(cache), wanted)
    if fault in {Redis.kill, freeze}:
        assert far.counts.errors
        assert vectors(cache).shape == wanted.shape
    if fault in {fill_up, read_only}:
        fresh = [picture(round(0.6 + 0.01 * number, 2)) for number in range(30)]
        for _ in range(2):
            got = Embedder(FakeEncoder(), cache).embed(fresh).vectors
            assert np.array_equal(got, Embedder(FakeEncoder(), MemoryCache(0)).embed(fresh).vectors)
        assert far.counts.refused
        told = [one.getMessage() for one in caplog.records if "takes no values" in one.getMessage()]
        assert len(told) == 1
        assert told[0].endswith("Error")


def test_a_dead_or_frozen_redis_costs_a_few_time_limits_and_then_nothing(server: Redis) -> None:
    cache = cache_of(server, breaker=Breaker(failures=2, first_delay=60.0))
    cache.put_many({"k": b"v"})
    freeze(server)
    for _ in range(200):
        assert cache.get_many(["k"]) == [None]
    assert cache.counts.errors == 2
    assert cache.counts.bypassed == 198
    assert cache.breaker.state is State.OPEN


def test_what_came_back_is_used_again(server: Redis) -> None:
    now = [0.0]
    cache = cache_of(server, breaker=Breaker(failures=1, first_delay=1.0, clock=lambda: now[0]))
    cache.put_many({"k": b"v"})
    freeze(server)
    assert cache.get_many(["k"]) == [None]
    server.send(signal.SIGCONT)
    assert cache.get_many(["k"]) == [None]  # still left alone
    now[0] = 2.0
    assert cache.get_many(["k"]) == [b"v"]
    assert cache.breaker.state is State.CLOSED


def test_a_slow_redis_is_left_alone_though_its_answers_are_right(server: Redis) -> None:
    client = connect(f"redis://{server.address}/0", timeout_seconds=20.0)
    breaker = Breaker(failures=1, first_delay=60.0)
    cache = RedisCache(client, ttl_seconds=1000.0, timeout_seconds=1.0, breaker=breaker)
    cache.put_many({"k": b"v"})
    plain(server).execute_command("CLIENT", "PAUSE", 800, "ALL")
    assert cache.get_many(["k"]) == [b"v"]
    assert (cache.counts.slow, cache.counts.errors) == (1, 0)
    assert cache.get_many(["k"]) == [None]
    assert cache.counts.bypassed == 1


def test_a_stampede_ends_with_one_value_for_all(server: Redis) -> None:
    """Many workers miss at once and write different last bits: every one goes on with what stands in Redis."""
    caches = [cache_of(server) for _ in range(20)]
    assert all(cache.get_many(["k"]) == [None] for cache in caches)
    stands = [cache.put_many({"k": f"worker {number}".encode()})["k"] for number, cache in enumerate(caches)]
    assert set(stands) == {b"worker 0"}


def test_the_settings_put_memory_before_redis_and_hide_the_password(
    server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"redis://user:secret-word@{server.address}/0"
    settings = Settings(cache=CacheSettings(redis=RedisSettings(url=SecretStr(url))))
    assert "secret-word" not in repr(settings)
    made = assemble.embedding_cache(settings)
    assert isinstance(made, TieredCache)
    assert isinstance(made.far, RedisCache)
    with pytest.raises(SettingsError) as refused:
        made.far.check()
    assert "AuthenticationError" in str(refused.value) or "ResponseError" in str(refused.value)
    assert "secret-word" not in str(refused.value)
    for _ in range(3):
        made.far.put_many({"a": b"b"})
    (told,) = [one.getMessage() for one in caplog.records]
    assert told.startswith("redis is left alone, and tried again now and then: ")
    assert "secret-word" not in told
    assert made.put_many({"k": b"v"}) == {"k": b"v"}  # and yet it works, on memory alone
    assert made.get_many(["k"]) == [b"v"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/0", "redis://127.0.0.1:port/0", "nonsense:secret-word"])
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    settings = Settings(cache=CacheSettings(redis=RedisSettings(url=SecretStr(url))))
    with pytest.raises(SettingsError, match="expected redis://") as refused:
        assemble.embedding_cache(settings)
    assert "secret-word" not in str(refused.value)


def test_a_password_and_tls(tmp_path: Path) -> None:
    """The real thing: a server that takes TLS and a password alone, with a certificate of our own authority."""
    server = Redis.secured(tmp_path / "redis", "secret-word")
    certificate = server.certificate
    server.start()
    try:
        server.wait_until_ready()
        base = f"rediss://:secret-word@{server.address}/0"
        good = RedisCache(
            connect(f"{base}?ssl_ca_certs={certificate}", timeout_seconds=5.0), ttl_seconds=100.0, timeout_seconds=5.0
        )
        good.check()
        assert good.put_many({"k": b"v"}) == {"k": b"v"}
        assert good.get_many(["k"]) == [b"v"]
        for url in (base, f"rediss://:wrong@{server.address}/0?ssl_ca_certs={certificate}"):
            with pytest.raises(SettingsError, match="cannot be used"):
                RedisCache(connect(url, timeout_seconds=5.0), ttl_seconds=100.0, timeout_seconds=5.0).check()
    finally:
        server.stop()


def test_a_batch_costs_one_round_trip_each_way(server: Redis) -> None:
    cache = cache_of(server)
    client = plain(server)
    client.config_resetstat()
    keys = [f"k{number}" for number in range(KEYS_PER_CALL)]
    cache.get_many(keys)
    cache.put_many(dict.fromkeys(keys, b"v"))
    calls = {name: one["calls"] for name, one in client.info("commandstats").items()}
    assert calls["cmdstat_mget"] == 1
    assert calls["cmdstat_set"] == KEYS_PER_CALL


def test_a_value_ends_by_itself(server: Redis) -> None:
    cache = cache_of(server, ttl=0.05)
    cache.put_many({"k": b"v"})
    end = time.monotonic() + 5.0
    while cache.get_many(["k"]) != [None]:
        assert time.monotonic() < end
        time.sleep(0.01)

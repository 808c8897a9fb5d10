"""What a worker's parts tell when they are asked, and which metrics there are at all, with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from prometheus_client.registry import Collector

from moderation import __version__
from moderation.breaker import Breaker
from moderation.embedding.cache import MemoryCache, TieredCache
from moderation.embedding.embedder import Embedder
from moderation.embedding.redis_cache import RedisCache
from moderation.item import Part
from moderation.metrics import Gauges
from moderation.plugin_sections import ReaderSettings
from moderation.policy.lock import Quota
from moderation.reader.step import Readers
from moderation.stream.batch import Partition, Record
from moderation.stream.dead_letter import Stage
from moderation.stream.gauges import SessionGauges
from moderation.stream.liveness import Progress
from moderation.stream.metrics import MeteredDecider, MeteredSession, Metrics
from tests.fakes import FakeEncoder, FakeReader, item, lock
from tests.unit.stream.test_decider import IMAGE, decider, picture, record
from tests.unit.stream.test_metrics import FakeSession, batch_of

Families = Mapping[str, set[str]]


class _NoRedis:
    """Always away."""

    def mget(self, _keys: Sequence[str]) -> None:
        raise OSError

    def pipeline(self, **_options: object) -> None:
        raise OSError


def embedder() -> Embedder:
    far = RedisCache(_NoRedis(), ttl_seconds=9.0, timeout_seconds=1.0, breaker=Breaker(failures=1, first_delay=99.0))
    made = Embedder(FakeEncoder(), TieredCache(MemoryCache(10_000), far))
    for _ in range(2):
        made.embed([Part.image(picture(0.9))])
    return made


def metrics() -> Metrics:
    """Of a worker that decided a batch, set one record aside, and has one in work."""
    made = Metrics()
    records: list[Record] = [record(picture(0.9), IMAGE, offset=1), record(b"junk", offset=2)]
    session = MeteredSession(FakeSession(batch_of(*records), batch_of(record(b"", offset=3))), made, clock=lambda: 11.0)
    limited = lock(share=0.999, quota=Quota(10, "review"))
    judge = decider(limited)
    outputs = MeteredDecider(judge, made).decide(session.poll(0.1).records)
    session.commit(batch_of(*records), [one for of_record in outputs for one in of_record])
    session.poll(0.1)
    made.answers.limited["gone", "quota"] += 3
    pipeline: Any = judge.in_force().pipeline
    pipeline.runner._guards["weapons"].faults["detector_timeout"] += 1
    pipeline.readers = Readers([FakeReader(answer=lambda _: 1 / 0)], ReaderSettings(faults_before_quarantine=1))
    pipeline.readers.read([item(Part.image(b"x"))])
    real: Any = SimpleNamespace(
        lag={Partition("in", 2): 7}, in_flight=(1, 80), progress=Progress(iter([0.0, 4.0]).__next__), joined=True
    )
    builds: Any = SimpleNamespace(reloads=2, refusals=1)
    told = Gauges(lambda: pipeline, {"default": embedder()}, builds, made.answers.limited)
    for one in (SessionGauges(real, session), told):
        made.registry.register(_Once(one))
    return made


class _Once:
    """What a collector told when it was first asked."""

    def __init__(self, gauges: Collector) -> None:
        self._told = list(gauges.collect())

    def collect(self) -> list[Any]:
        return self._told


def families() -> Families:
    """Every metric that a worker has, by the name that a query uses, with its labels."""
    return told_families(metrics())


def told_families(made: Metrics) -> Families:
    """The metrics of a registry, by the name that a query uses, with their labels."""
    found: dict[str, set[str]] = {}
    for family in made.registry.collect():
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def test_every_part_is_told() -> None:
    registry = metrics().registry

    def told(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"moderation_{name}", labels)

    assert told("consumer_lag_records", topic="in", partition="2") == 7
    assert (told("in_flight_records"), told("in_flight_bytes"), told("oldest_unfinished_seconds")) == (1, 80, 10.0)
    assert (told("seconds_since_progress"), told("joined")) == (4.0, 1)
    assert (told("reloads_total", result="taken"), told("reloads_total", result="refused")) == (2, 1)
    assert told("build_info", version=__version__) == 1
    assert [told("cache_requests_total", encoder="default", result=one) for one in ("hit", "miss", "damaged")] == [
        1,
        1,
        0,
    ]
    assert told("redis_faults_total", result="errors") == 1
    assert [told("redis_breaker_state", state=one) for one in ("closed", "open", "half_open")] == [0, 1, 0]
    assert told("detector_faults_total", detector="weapons", reason="detector_timeout") == 1
    assert told("verdicts_limited_total", policy="gone", limit="quota") == 3
    assert [
        told(name, detector="weapons")
        for name in ("detector_calls_total", "detector_quarantined", "detector_restarts_total")
    ] == [1, 0, 0]
    assert told("reader_faults_total", reader="ocr", reason="reader_error") == 1
    assert [
        told(name, reader="ocr") for name in ("reader_calls_total", "reader_quarantined", "reader_restarts_total")
    ] == [1, 1, 0]
    assert told("dead_letters_total", stage=Stage.DECODE.value) == 1


def test_what_may_happen_is_told_from_0_on() -> None:
    registry = metrics().registry

    def told(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"moderation_{name}", labels)

    for reason in ("detector_error", "bad_answer"):
        assert told("detector_faults_total", detector="weapons", reason=reason) == 0
    assert told("reader_faults_total", reader="ocr", reason="reader_timeout") == 0
    for limit in ("quota", "rollout"):
        assert told("verdicts_limited_total", policy="weapons", limit=limit) == 0


def test_names_follow_the_conventions() -> None:
    ours = {name: labels for name, labels in families().items() if name.startswith("moderation_")}
    assert len(ours) > 30
    bounded = {"le", "step", "action", "policy", "outcome", "status", "limit", "stage", "result", "topic", "partition"}
    bounded |= {"version", "revision", "detector", "reader", "reason", "encoder", "state"}
    assert set().union(*ours.values()) <= bounded
    assert not [name for name in ours if name.endswith(("_ms", "_milliseconds", "_count_total", "_created"))]

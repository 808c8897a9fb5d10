"""What a worker's parts know of themselves, read when Prometheus asks: nothing of it costs anything while the worker works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from moderation import __version__
from moderation.breaker import State
from moderation.detector.faults import BAD_ANSWER
from moderation.detector.runner import Counts
from moderation.embedding.cache import EmbeddingCache, TieredCache
from moderation.embedding.embedder import Embedder
from moderation.embedding.redis_cache import RedisCache
from moderation.pipeline import Pipeline
from moderation.rollout.limits import QUOTA, ROLLOUT
from moderation.rollout.reload import Reloader
from moderation.stream.metrics import MeteredSession
from moderation.stream.session import Session


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """The parts of one worker. `embedders` by the encoder's name; `pipeline` gives the one in force; `limited` counts verdicts by policy and limit."""

    session: Session
    metered: MeteredSession
    pipeline: Callable[[], Pipeline]
    embedders: Mapping[str, Embedder]
    builds: Reloader[Any]
    limited: Mapping[tuple[str, str], int]


class Gauges(Collector):
    """A collector over a worker's parts."""

    def __init__(self, sources: Sources) -> None:
        self._of = sources

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that have nothing to tell."""
        yield from of_session(self._of.session, self._of.metered)
        yield build_info()
        yield from self._builds()
        yield from self._detectors_and_readers()
        yield from self._caches()

    def _builds(self) -> Iterator[Metric]:
        policies = _gauge("policy_info", "The builds in force.", "policy", "version", "revision", "status")
        for one in self._of.pipeline().running.policies:
            policies.add_metric([one.id, one.lock.version, one.lock.revision, one.terms.status], 1)
        yield policies
        yield self._limited()
        reloads = _counter("reloads", "Changes of builds on disk, taken or refused.", "result")
        reloads.add_metric(["taken"], self._of.builds.reloads)
        reloads.add_metric(["refused"], self._of.builds.refusals)
        yield reloads

    def _limited(self) -> Metric:
        """From 0 on for every limit that there is: of a count that begins with its first event, nobody sees the step."""
        limited = _counter("verdicts_limited", "Verdicts whose action a limit held back.", "policy", "limit")
        terms = [one.terms for one in self._of.pipeline().running.policies]
        known = [(one.policy, QUOTA) for one in terms if one.quota]
        known += [(one.policy, ROLLOUT) for one in terms if one.share < 1]
        for pair, count in (dict.fromkeys(known, 0) | dict(self._of.limited)).items():
            limited.add_metric(pair, count)
        return limited

    def _detectors_and_readers(self) -> Iterator[Metric]:
        pipeline = self._of.pipeline()
        detectors = pipeline.runner.counts()
        yield from of_units("detector", detectors)
        restarts = _counter(
            "detector_restarts", "Processes of an isolated detector that had to be replaced.", "detector"
        )
        for id_, one in detectors.items():
            restarts.add_metric([id_], one.restarts)
        yield restarts
        yield from of_units("reader", pipeline.readers.runner.counts() if pipeline.readers else {})

    def _caches(self) -> Iterator[Metric]:
        requests = _counter("cache_requests", "Parts looked for in the embedding cache.", "encoder", "result")
        caches: list[EmbeddingCache] = []
        for name, embedder in dict(self._of.embedders).items():
            stats = embedder.stats
            for result, count in (("hit", stats.hits), ("miss", stats.misses), ("damaged", stats.damaged)):
                requests.add_metric([name, result], count)
            caches.append(embedder.cache)
        yield requests
        calls = _counter(
            "redis_faults",
            "Calls of Redis that failed, were slow, were not made while the breaker was open; values refused.",
            "result",
        )
        breaker = _gauge("redis_breaker_state", "1 for the state that the breaker is in.", "state")
        far = next((one.far for one in caches if isinstance(one, TieredCache)), None)  # all embedders share one
        if isinstance(far, RedisCache):
            counts = far.counts
            for result in ("errors", "slow", "bypassed", "refused"):
                calls.add_metric([result], getattr(counts, result))
            state = far.breaker.state
            for one in State:
                breaker.add_metric([one.value], one is state)
        yield from (calls, breaker)


def of_session(session: Session, metered: MeteredSession) -> Iterator[Metric]:
    """What is read, in hand, and behind."""
    lag = _gauge("consumer_lag_records", "Records not read yet, as of a few seconds ago.", "topic", "partition")
    for partition, records in dict(session.lag).items():
        lag.add_metric([partition.topic, str(partition.number)], records)
    yield lag
    records, size = session.in_flight
    yield _gauge("in_flight_records", "Records polled and not committed.", value=records)
    yield _gauge("in_flight_bytes", "Bytes of key, value and headers of the records in flight.", value=size)
    yield _gauge("oldest_unfinished_seconds", "Age of the oldest record in flight.", value=metered.oldest_seconds)
    yield _gauge(
        "seconds_since_progress",
        "Since something went forward: a commit, an assignment, or a look that found nothing to do.",
        value=session.progress.seconds(),
    )
    yield _gauge("joined", "Whether the group has given this worker a place.", value=metered.joined)


def build_info() -> Metric:
    """Which software this is."""
    build = _gauge("build_info", "The version of this software.", "version")
    build.add_metric([__version__], 1)
    return build


def of_units(kind: str, counts: Mapping[str, Counts]) -> Iterator[Metric]:
    """What detectors, readers or sinks did."""
    calls = _counter(f"{kind}_calls", f"Calls of a {kind}.", kind)
    faults = _counter(f"{kind}_faults", "Calls that raised, took too long, or were answered badly.", kind, "reason")
    quarantined = _gauge(f"{kind}_quarantined", f"Whether a {kind} is left alone for a while.", kind)
    known = dict.fromkeys((f"{kind}_error", f"{kind}_timeout", BAD_ANSWER), 0)
    for id_, one in counts.items():
        calls.add_metric([id_], one.calls)
        quarantined.add_metric([id_], one.quarantined)
        for reason, count in (known | dict(one.faults)).items():
            faults.add_metric([id_, reason], count)
    yield from (calls, faults, quarantined)


def _gauge(name: str, told: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"moderation_{name}", told, value=value, labels=None if value is not None else labels)


def _counter(name: str, told: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"moderation_{name}", told, labels=labels)

"""What every process that decides tells Prometheus of its decisions and its parts: units in the names, few and bounded labels, nothing of any item.

What is known elsewhere (caches, detectors, readers) is not counted again but read when Prometheus asks.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from moderation import __version__
from moderation.breaker import State
from moderation.decision import Decision, Outcome
from moderation.detector.faults import BAD_ANSWER
from moderation.detector.runner import Counts
from moderation.embedding.cache import EmbeddingCache, TieredCache
from moderation.embedding.embedder import Embedder
from moderation.embedding.redis_cache import RedisCache
from moderation.pipeline import Pipeline
from moderation.rollout.limits import QUOTA, ROLLOUT
from moderation.rollout.reload import Reloader

NONE = "none"  # the action of a verdict without one


class DecisionCounts:
    """Decisions and verdicts, counted once they stand: when they were committed, or answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, told: str, *labels: str) -> Counter:
            return Counter(f"moderation_{name}", told, labels, registry=registry)

        self.decisions = counter("decisions", "Decisions that stand, by what is asked of the platform.", "action")
        self.verdicts = counter(
            "verdicts", "Verdicts that stand; action is what the verdict asks for, live or not.", "policy", "outcome", "action", "status"
        )  # fmt: skip
        self.limited = Tally[tuple[str, str]]()  # verdicts whose action a limit held back, by policy and limit
        self.errored = counter("items_errored", "Items with a verdict of outcome error.")

    def decided(self, answered: Iterable[Decision]) -> None:
        """Count decisions that stand now."""
        given = list(answered)
        actions = Tally(decision.action for decision in given)
        told = [one for decision in given for one in decision.verdicts]
        verdicts = Tally((one.policy, one.outcome, one.action or NONE, one.status) for one in told)
        self.limited.update((one.policy, one.limit) for one in told if one.limit)
        errors = any(outcome is Outcome.ERROR for _, outcome, _, _ in verdicts)
        for action, count in actions.items():
            self.decisions.labels(action).inc(count)
        for labels, count in verdicts.items():
            self.verdicts.labels(*labels).inc(count)
        if errors:
            self.errored.inc(sum(any(v.outcome is Outcome.ERROR for v in one.verdicts) for one in given))


class Gauges(Collector):
    """The builds in force (`pipeline`), their detectors and readers, and the caches of `embedders`, by the encoder's name.

    `limited` counts verdicts by policy and limit.
    """

    def __init__(
        self,
        pipeline: Callable[[], Pipeline],
        embedders: Mapping[str, Embedder],
        builds: Reloader[Any],
        limited: Mapping[tuple[str, str], int],
    ) -> None:
        self._pipeline, self._embedders, self._builds, self._limited = pipeline, embedders, builds, limited

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that have nothing to tell."""
        yield build_info()
        yield from self._in_force()
        yield from self._detectors_and_readers()
        yield from self._caches()

    def _in_force(self) -> Iterator[Metric]:
        policies = gauge("policy_info", "The builds in force.", "policy", "version", "revision", "status")
        for one in self._pipeline().running.policies:
            policies.add_metric([one.id, one.lock.version, one.terms.revision, one.terms.status], 1)
        yield policies
        yield self._held_back()
        reloads = counter("reloads", "Changes of builds, or of a server's keys, on disk, taken or refused.", "result")
        reloads.add_metric(["taken"], self._builds.reloads)
        reloads.add_metric(["refused"], self._builds.refusals)
        yield reloads

    def _held_back(self) -> Metric:
        """From 0 on for every limit that there is: of a count that begins with its first event, nobody sees the step."""
        limited = counter("verdicts_limited", "Verdicts whose action a limit held back.", "policy", "limit")
        terms = [one.terms for one in self._pipeline().running.policies]
        known = [(one.policy, QUOTA) for one in terms if one.quota]
        known += [(one.policy, ROLLOUT) for one in terms if one.share < 1]
        for pair, count in (dict.fromkeys(known, 0) | dict(self._limited)).items():
            limited.add_metric(pair, count)
        return limited

    def _detectors_and_readers(self) -> Iterator[Metric]:
        pipeline = self._pipeline()
        detectors = pipeline.runner.counts()
        readers = pipeline.readers.runner.counts() if pipeline.readers else {}
        for kind, counts in (("detector", detectors), ("reader", readers)):
            yield from of_units(kind, counts)
            told = f"Processes of an isolated {kind} that had to be replaced."
            restarts = counter(f"{kind}_restarts", told, kind)
            for id_, one in counts.items():
                restarts.add_metric([id_], one.restarts)
            yield restarts

    def _caches(self) -> Iterator[Metric]:
        requests = counter("cache_requests", "Parts looked for in the embedding cache.", "encoder", "result")
        caches: list[EmbeddingCache] = []
        for name, embedder in dict(self._embedders).items():
            stats = embedder.stats
            for result, count in (("hit", stats.hits), ("miss", stats.misses), ("damaged", stats.damaged)):
                requests.add_metric([name, result], count)
            caches.append(embedder.cache)
        yield requests
        calls = counter(
            "redis_faults",
            "Calls of Redis that failed, were slow, were not made while the breaker was open; values refused.",
            "result",
        )
        breaker = gauge("redis_breaker_state", "1 for the state that the breaker is in.", "state")
        far = next((one.far for one in caches if isinstance(one, TieredCache)), None)  # all embedders share one
        if isinstance(far, RedisCache):
            counts = far.counts
            for result in ("errors", "slow", "bypassed", "refused"):
                calls.add_metric([result], getattr(counts, result))
            state = far.breaker.state
            for one in State:
                breaker.add_metric([one.value], one is state)
        yield from (calls, breaker)


def build_info() -> Metric:
    """Which software this is."""
    build = gauge("build_info", "The version of this software.", "version")
    build.add_metric([__version__], 1)
    return build


def of_units(kind: str, counts: Mapping[str, Counts]) -> Iterator[Metric]:
    """What detectors, readers or sinks did."""
    calls = counter(f"{kind}_calls", f"Calls of a {kind}.", kind)
    faults = counter(f"{kind}_faults", "Calls that raised, took too long, or were answered badly.", kind, "reason")
    quarantined = gauge(f"{kind}_quarantined", f"Whether a {kind} is left alone for a while.", kind)
    known = dict.fromkeys((f"{kind}_error", f"{kind}_timeout", BAD_ANSWER), 0)
    for id_, one in counts.items():
        calls.add_metric([id_], one.calls)
        quarantined.add_metric([id_], one.quarantined)
        for reason, count in (known | dict(one.faults)).items():
            faults.add_metric([id_, reason], count)
    yield from (calls, faults, quarantined)


def gauge(name: str, told: str, *labels: str, value: float | None = None) -> GaugeMetricFamily:
    """A family of ours; with `value` it has no labels."""
    return GaugeMetricFamily(f"moderation_{name}", told, value=value, labels=None if value is not None else labels)


def counter(name: str, told: str, *labels: str) -> CounterMetricFamily:
    """A family of ours."""
    return CounterMetricFamily(f"moderation_{name}", told, labels=labels)

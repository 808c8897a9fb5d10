"""What a server counts, for Prometheus: units in the names, few and bounded labels, nothing of any item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from moderation.metrics import DecisionCounts
from moderation.server.batcher import Batcher

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


# Why connections are cut: what comes on one is no HTTP, too much, late, or nothing; its answers are not read; there are too many of them.
CUTS = (
    "invalid_http", "headers_too_large", "too_many_headers", "too_many_ahead", "too_slow", "silent", "unread", "crowded",
)  # fmt: skip


class ServerMetrics:
    """Every counter of one server, in a registry of its own; `stuck` names each thread that gets nowhere."""

    def __init__(self, batcher: Batcher, stuck: Callable[[], Sequence[str]] = tuple) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "moderation_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "moderation_request_duration_seconds", "From a request's arrival to its answer.", ("route",), buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._cuts = Counter(
            "moderation_connections_cut", "Connections that the server cut.", ("reason",), registry=self.registry
        )
        for reason in CUTS:  # from 0 on: of a count that begins with its first event, nobody sees the step
            self._cuts.labels(reason)
        self.answers = DecisionCounts(self.registry)
        self.registry.register(_Waiting(batcher, stuck))

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; 499 is a caller that went away."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def cut(self, reason: str) -> None:
        """Count a connection that was cut, for one of CUTS."""
        self._cuts.labels(reason).inc()


def joined(told: Mapping[str, str], *, label: str) -> bytes:
    """What several servers tell Prometheus as one text: every series of each with the server's name under `label`."""
    families: dict[str, Metric] = {}
    for server, text in sorted(told.items()):
        for family in text_string_to_metric_families(text):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            whole.samples += [one._replace(labels={**one.labels, label: server}) for one in family.samples]
    return generate_latest(_Told(families.values()))


class _Told(Collector):
    """Families as they are."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._families


class _Waiting(Collector):
    """What the batcher, and `stuck`, know, read when it is asked for."""

    def __init__(self, batcher: Batcher, stuck: Callable[[], Sequence[str]]) -> None:
        self._batcher, self._stuck = batcher, stuck

    def collect(self) -> Iterator[Metric]:
        """Its families."""
        parts, size = self._batcher.waiting
        yield GaugeMetricFamily("moderation_waiting_parts", "Parts that wait for the device.", parts)
        yield GaugeMetricFamily("moderation_waiting_bytes", "Bytes of the parts that wait.", size)
        yield GaugeMetricFamily("moderation_stuck_threads", "Threads that get nowhere.", len(self._stuck()))
        counts: dict[str, tuple[str, Callable[[Batcher], int]]] = {
            "batches": ("Batches that the device ran.", lambda one: one.batches),
            "parts_encoded": ("Parts that were encoded.", lambda one: one.encoded),
            "parts_dropped": ("Parts that nobody waited for any more, or that were too late.", lambda one: one.dropped),
        }
        for name, (told, count) in counts.items():
            yield CounterMetricFamily(f"moderation_{name}", told, count(self._batcher))

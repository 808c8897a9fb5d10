"""What a deliverer counts beside a worker's metrics, and what its parts know of themselves, for Prometheus: nothing of any decision."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from moderation.breaker import Breaker, State
from moderation.decision import Again, Receipt
from moderation.metrics import build_info, of_units
from moderation.sink.runner import SinkRunner
from moderation.stream.gauges import SessionGauges
from moderation.stream.metrics import MeteredSession, Metrics
from moderation.stream.session import Session

LEFT_OUT = "left_out"  # its action is none that the settings name
OUTCOMES = ("delivered", "refused", "again", "gone", LEFT_OUT)


class DeliverMetrics:
    """Counts receipts, and times calls; the rest is counted as a worker's."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        told = "Decisions by what the sink said of them, each time that they were sent, and those left out by their action."
        self.deliveries = Counter("moderation_deliveries", told, ["outcome"], registry=metrics.registry)
        for outcome in OUTCOMES:
            self.deliveries.labels(outcome)

    def called(self, seconds: float, receipts: Sequence[Receipt]) -> None:
        """Count one call of the sink; what it did not come to is not counted."""
        self._metrics.seconds.labels("deliver").observe(seconds)
        self._metrics.size.observe(len(receipts))
        tried = (one for one in receipts if not isinstance(one, Again) or one.tried)
        for kind, count in Tally(type(one).__name__.lower() for one in tried).items():
            self.deliveries.labels(kind).inc(count)


class DeliverGauges(Collector):
    """A collector over a deliverer's parts."""

    def __init__(self, session: Session, metered: MeteredSession, sink: SinkRunner, breaker: Breaker) -> None:
        self._session, self._sink, self._breaker = SessionGauges(session, metered), sink, breaker

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that have nothing to tell."""
        yield from self._session.collect()
        yield build_info()
        yield from of_units("sink", {self._sink.id: self._sink.count()})
        away: Any = GaugeMetricFamily(
            "moderation_sink_away",
            "Whether nothing gets through to the sink, so that it is left alone.",
            labels=["sink"],
        )
        away.add_metric([self._sink.id], self._breaker.state is not State.CLOSED)
        yield away

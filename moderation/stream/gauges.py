"""What a worker's parts know of themselves, read when Prometheus asks: nothing of it costs anything while the worker works."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from moderation.metrics import gauge
from moderation.stream.metrics import MeteredSession
from moderation.stream.session import Session


class SessionGauges(Collector):
    """A collector over a session: what is read, in hand, and behind."""

    def __init__(self, session: Session, metered: MeteredSession) -> None:
        self._session, self._metered = session, metered

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that have nothing to tell."""
        session, metered = self._session, self._metered
        lag = gauge("consumer_lag_records", "Records not read yet, as of a few seconds ago.", "topic", "partition")
        for partition, records in dict(session.lag).items():
            lag.add_metric([partition.topic, str(partition.number)], records)
        yield lag
        records, size = session.in_flight
        yield gauge("in_flight_records", "Records polled and not committed.", value=records)
        yield gauge("in_flight_bytes", "Bytes of key, value and headers of the records in flight.", value=size)
        yield gauge("oldest_unfinished_seconds", "Age of the oldest record in flight.", value=metered.oldest_seconds)
        yield gauge(
            "seconds_since_progress",
            "Since something went forward: a commit, an assignment, or a look that found nothing to do.",
            value=session.progress.seconds(),
        )
        yield gauge("joined", "Whether the group has given this worker a place.", value=metered.joined)

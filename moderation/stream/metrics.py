"""What a worker counts while it works, for Prometheus: units in the names, few and bounded labels, nothing of any item.

A session and a decider are put in wrappers that count and time what passes; the loop knows nothing of it. What is known elsewhere (lag,
caches, detectors) is not counted again but read when it is asked for (gauges.py).
"""

from __future__ import annotations

import logging
import time
from collections import Counter as Tally
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from moderation.metrics import DecisionCounts
from moderation.stream.batch import Batch, Output, Partition, Position, Record
from moderation.stream.dead_letter import DeadLetter, Stage, set_aside
from moderation.stream.worker import Decider, Outputs, Session
from moderation.telemetry import ERROR, OFFSET, PARTITION, TOPIC

_log = logging.getLogger(__name__)

_STEPS = ("poll", "read", "decode", "encode", "detect", "decide", "commit")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000)


class Metrics:
    """Every counter of one worker, in a registry of its own. Counts of answers are of what was committed, exactly once each."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # or every counter would be told twice, with the time of its making
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.consumed = self._counter(
            "records_consumed", "Records polled; those that came again after a new assignment are counted again."
        )
        self.committed = self._counter("records_committed", "Records whose answer and offset were committed.")
        self.answers = DecisionCounts(self.registry)
        self.dead_letters = self._counter("dead_letters", "Records set aside, committed, by stage.", "stage")
        self.commits = self._counter("commits", "Batches committed, or void since the group moved on.", "result")
        self.rebalances = self._counter("rebalances", "New assignments of partitions, the first included.")
        self.lost_offsets = self._counter("offsets_lost", "Offsets that retention deleted before they were read.")
        self.seconds = self._histogram(
            "batch_duration_seconds", "Seconds that a batch spent in a step.", _SECONDS, "step"
        )
        self.size = self._histogram("batch_size_records", "Records decided together.", _SIZES)
        self.latency = Spread(
            "moderation_end_to_end_latency_seconds", "From a record's own time to its commit.", _LATENCY
        )
        self.registry.register(self.latency)
        for step in _STEPS:
            self.seconds.labels(step)
        for stage in Stage:
            self.dead_letters.labels(stage.value)
        for result in ("done", "void"):
            self.commits.labels(result)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"moderation_{name}", told, labels, registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"moderation_{name}", told, labels, buckets=buckets, registry=self.registry)


class Spread(Collector):
    """A histogram without labels that takes many values at once: one call a batch, not one a record."""

    def __init__(self, name: str, told: str, bounds: Sequence[float]) -> None:
        self._name, self._told, self._bounds = name, told, np.array(bounds)
        self._counts, self._sum = np.zeros(len(bounds) + 1, dtype=np.int64), 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count these values; one thread does so."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts = self._counts + np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """The one family; each bucket counts all below its bound, too."""
        bounds = [*(str(float(one)) for one in self._bounds), "+Inf"]
        below = [float(one) for one in np.cumsum(self._counts)]
        yield HistogramMetricFamily(
            self._name, self._told, buckets=list(zip(bounds, below, strict=True)), sum_value=self._sum
        )


class MeteredSession:
    """A session whose polls and commits are counted and timed; `clock` gives seconds since 1970, as records have their time."""

    def __init__(self, session: Session, metrics: Metrics, *, clock: Callable[[], float] = time.time) -> None:
        self._session, self._metrics, self._clock = session, metrics, clock
        self._open: defaultdict[Partition, deque[int]] = defaultdict(deque)  # the times of what is not committed
        self.joined = False  # whether the group has given us a place, be it one without partitions

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest record that was polled and is not committed; 0 where there is none."""
        times = [one for partition in list(self._open.values()) for one in list(partition) if one >= 0]
        return max(0.0, self._clock() - min(times) / 1000) if times else 0.0

    @property
    def held(self) -> bool:
        """As the session says."""
        return self._session.held

    def poll(self, seconds: float) -> Batch:
        """As the session does."""
        began = time.perf_counter()
        batch = self._session.poll(seconds)
        self.joined = batch.membership.valid
        if batch.assigned is not None:
            self._open.clear()
        if batch.assigned is not None and batch.membership.valid:  # not where an assignment has only ended
            self._metrics.rebalances.inc()
            self._assigned(batch.assigned)
        if batch.records:
            self._metrics.seconds.labels("poll").observe(time.perf_counter() - began)
            self._metrics.consumed.inc(len(batch.records))
            for one in batch.records:
                self._open[one.partition].append(one.timestamp_ms)
        return batch

    def commit(self, batch: Batch, outputs: Sequence[Output], *, note: str = "") -> bool:
        """As the session does; what was committed is counted."""
        began = time.perf_counter()
        done = self._session.commit(batch, outputs, note=note)
        self._metrics.seconds.labels("commit").observe(time.perf_counter() - began)
        self._metrics.commits.labels("done" if done else "void").inc()
        if done:
            self._count(batch.records, outputs)
        return done

    def mark(self, batch: Batch, note: str, *, otherwise: str) -> bool:
        """As the session does."""
        return self._session.mark(batch, note, otherwise=otherwise)

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        """As the session does."""
        self._session.pause(partitions)

    def resume(self, partitions: Collection[Partition] | None = None) -> None:
        """As the session does."""
        self._session.resume(partitions)

    def _assigned(self, positions: Sequence[Position]) -> None:
        _log.info("assigned partitions: %d", len(positions))
        for one in positions:
            if one.lost:
                self._metrics.lost_offsets.inc(one.lost)
                told = {TOPIC: one.partition.topic, PARTITION: one.partition.number, OFFSET: one.offset}
                _log.error("%d records were deleted before they were read", one.lost, extra={"told": told})

    def _count(self, records: Sequence[Record], outputs: Sequence[Output]) -> None:
        now, metrics = self._clock(), self._metrics
        metrics.committed.inc(len(records))
        timed = np.fromiter((one.timestamp_ms for one in records if one.timestamp_ms >= 0), np.float64)
        metrics.latency.observe(np.maximum(0.0, now - timed / 1000))
        metrics.answers.decided(one.decision for one in outputs if one.decision)
        self._set_aside([letter for one in outputs if not one.decision and (letter := set_aside(one))])
        for record in records:  # of each partition in its order; one partition may be far behind another
            if times := self._open[record.partition]:
                times.popleft()

    def _set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """One line of log for each cause, and where it was first met: a flood of letters is no flood of lines."""
        for letter in letters:
            self._metrics.dead_letters.labels(letter.stage.value).inc()
        counts = Tally((one.stage.value, one.cause) for one in letters)
        first = {(one.stage.value, one.cause): one for one in reversed(letters)}
        for kind, one in first.items():
            place = {TOPIC: one.origin.topic, PARTITION: one.origin.number, OFFSET: one.offset}
            told = {"stage": one.stage.value, ERROR: one.cause, "records": counts[kind], **place}
            _log.warning("set aside", extra={"told": told})


class MeteredDecider:
    """A decider whose batches are counted and timed."""

    def __init__(self, decider: Decider, metrics: Metrics) -> None:
        self._decider, self._metrics = decider, metrics
        self.set_aside = decider.set_aside

    def decide(self, records: Sequence[Record]) -> Outputs:
        """As the decider does."""
        began = time.perf_counter()
        outputs = self._decider.decide(records)
        self._metrics.seconds.labels("decide").observe(time.perf_counter() - began)
        self._metrics.size.observe(len(records))
        timings = [one.decision.timing for of_record in outputs for one in of_record[:1] if one.decision]
        for step in ("read", "decode", "encode", "detect"):
            self._metrics.seconds.labels(step).observe(sum(getattr(one, step) for one in timings))
        return outputs

"""What a deliverer's parts tell when they are asked, and which metrics it has at all, with their labels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from moderation.breaker import Breaker
from moderation.decision import Again, Delivered, Gone, Refused
from moderation.sections import RunnerSettings
from moderation.sink.runner import SinkRunner
from moderation.stream.batch import Partition
from moderation.stream.deliver_metrics import DeliverGauges, DeliverMetrics
from moderation.stream.liveness import Progress
from moderation.stream.metrics import MeteredSession, Metrics
from moderation.testing.sink import made
from tests.unit.stream.test_gauges import Families, told_families
from tests.unit.stream.test_metrics import FakeSession


class Desk:
    id = "desk"

    def deliver(self, *_: object) -> Any:
        raise OSError


def metrics() -> Metrics:
    """Of a deliverer that made one call, in vain, and leaves its sink alone."""
    given = Metrics()
    real: Any = SimpleNamespace(lag={Partition("decisions", 2): 7}, in_flight=(1, 80), progress=Progress())
    sink, breaker = (
        SinkRunner(Desk(), RunnerSettings(faults_before_quarantine=1)),
        Breaker(failures=1, first_delay=99.0),
    )
    DeliverMetrics(given).called(
        0.1, [Delivered(), Delivered(), Refused("no"), Again("busy"), Again("busy", tried=False), Gone("gone")]
    )
    sink.deliver(made(1))
    breaker.failed()
    given.registry.register(DeliverGauges(real, MeteredSession(FakeSession(), given), sink, breaker))
    return given


def families() -> Families:
    """Every metric that a deliverer has, by the name that a query uses, with its labels."""
    return told_families(metrics())


def test_receipts_are_counted_and_what_was_not_tried_is_not() -> None:
    registry = metrics().registry

    def count(outcome: str) -> float | None:
        return registry.get_sample_value("moderation_deliveries_total", {"outcome": outcome})

    assert [count(one) for one in ("delivered", "refused", "again", "gone", "left_out")] == [2, 1, 1, 1, 0]
    assert registry.get_sample_value("moderation_batch_duration_seconds_sum", {"step": "deliver"}) == 0.1
    assert registry.get_sample_value("moderation_batch_size_records_sum") == 6


def test_the_sink_and_the_session_tell_how_they_are() -> None:
    registry = metrics().registry
    told = {
        ("moderation_sink_away", "desk"): 1.0, ("moderation_sink_calls_total", "desk"): 1.0, ("moderation_sink_quarantined", "desk"): 1.0,
    }  # fmt: skip
    assert {(name, sink): registry.get_sample_value(name, {"sink": sink}) for name, sink in told} == told
    faults = {reason: registry.get_sample_value("moderation_sink_faults_total", {"sink": "desk", "reason": reason}) for reason in ("sink_error", "sink_timeout", "bad_answer")}  # fmt: skip
    assert faults == {"sink_error": 1.0, "sink_timeout": 0.0, "bad_answer": 0.0}
    assert registry.get_sample_value("moderation_consumer_lag_records", {"topic": "decisions", "partition": "2"}) == 7
    assert registry.get_sample_value("moderation_in_flight_records") == 1
    assert {"moderation_build_info", "moderation_joined"} <= families().keys()

"""What several servers tell Prometheus, as one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from moderation.server.metrics import joined


def told(count: int) -> str:
    registry = CollectorRegistry()
    Counter("asked", "What was asked.", ("route",), registry=registry).labels("/a").inc(count)
    Histogram("took_seconds", "How long.", buckets=(1.0,), registry=registry).observe(count)
    return generate_latest(registry).decode()


def test_every_series_of_every_server_is_there_under_its_name() -> None:
    families = {
        one.name: one
        for one in text_string_to_metric_families(joined({"x": told(1), "y": told(2)}, label="replica").decode())
    }
    counted = {
        (one.labels["replica"], one.labels["route"]): one.value
        for one in families["asked"].samples
        if one.name == "asked_total"
    }
    assert counted == {("x", "/a"): 1.0, ("y", "/a"): 2.0}
    assert families["took_seconds"].type == "histogram"
    buckets = {
        (one.labels["replica"], one.labels["le"]): one.value
        for one in families["took_seconds"].samples
        if "le" in one.labels
    }
    assert buckets == {("x", "1.0"): 1.0, ("x", "+Inf"): 1.0, ("y", "1.0"): 0.0, ("y", "+Inf"): 1.0}


def test_of_nobody_there_is_nothing() -> None:
    assert joined({}, label="replica") == b""

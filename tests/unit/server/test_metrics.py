"""What a server counts, and which metrics it has, with their labels."""

from __future__ import annotations

from collections.abc import Mapping

from moderation.item import Part
from moderation.server.metrics import CUTS, ServerMetrics
from tests.fakes import item, lock
from tests.unit.server.test_batcher import Device, ask, batching
from tests.unit.stream.test_gauges import Families
from tests.unit.test_pipeline import pipeline


def metrics() -> ServerMetrics:
    """Of a server that answered twice, decided once, and encoded a part."""
    with batching(Device()) as batcher:
        ask(batcher, "0.1").done.result(10)
        made = ServerMetrics(batcher)
        made.answered("/v1/moderations", 200, 0.02)
        made.answered("/v1/moderations", 429, 0.001)
        made.cut("silent")
        made.answers.decided(pipeline(lock(modalities=("text",))).decide([item(Part.text("0.95"))]))
        return made


def families() -> Families:
    """Every metric that a server has beside those of all who decide, by the name that a query uses, with its labels."""
    found: dict[str, set[str]] = {}
    for family in metrics().registry.collect():
        for one in family.samples:
            found.setdefault(one.name, set()).update(one.labels)
    return found


def test_answers_decisions_and_batches_are_counted() -> None:
    registry = metrics().registry

    def told(name: str, labels: Mapping[str, str] | None = None) -> float | None:
        return registry.get_sample_value(f"moderation_{name}", labels or {})

    assert [told("requests_total", {"route": "/v1/moderations", "status": one}) for one in ("200", "429")] == [1, 1]
    assert told("request_duration_seconds_count", {"route": "/v1/moderations"}) == 2
    assert told("decisions_total", {"action": "allow"}) == 1  # a draft
    assert [told("connections_cut_total", {"reason": one}) for one in CUTS] == [one == "silent" for one in CUTS]
    assert (told("batches_total"), told("parts_encoded_total"), told("waiting_parts")) == (1, 1, 0)
    assert (told("parts_dropped_total"), told("waiting_bytes"), told("stuck_threads")) == (0, 0, 0)

"""What is counted is what was committed, and what is told is bounded and holds nothing of any item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest

from moderation.stream.batch import Batch, Membership, Output, Partition, Position, Record
from moderation.stream.metrics import MeteredDecider, MeteredSession, Metrics
from tests.unit.stream.test_decider import IMAGE, decider, picture, record

INSIDE = Membership("g", 1, "m", None)
OUTSIDE = Membership("g", -1, "", None)


class FakeSession:
    """Gives what it is told to."""

    def __init__(self, *batches: Batch, commits: bool = True) -> None:
        self.batches, self.commits = list(batches), commits

    held = False

    def poll(self, _seconds: float) -> Batch:
        return self.batches.pop(0)

    def commit(self, _batch: Batch, _outputs: Sequence[Output], *, note: str = "") -> bool:
        return self.commits

    def mark(self, _batch: Batch, _note: str, *, otherwise: str) -> bool:
        return otherwise == ""

    def pause(self) -> None:
        pass


def told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"moderation_{name}", labels)


def batch_of(*records: Record, **more: Any) -> Batch:
    return Batch(INSIDE, records, **more)


def test_every_record_is_counted_once_whatever_became_of_it() -> None:
    metrics = Metrics()
    records = [
        record(picture(0.95), IMAGE, offset=1),
        record(b"nonsense", offset=2),
        record(picture(0.72), IMAGE, offset=3),
        record(b"junk", IMAGE, offset=4),
        record(None, offset=5),
    ]
    batch = batch_of(*records)
    session = MeteredSession(FakeSession(batch), metrics, clock=lambda: 3.0)
    outputs = MeteredDecider(decider(), metrics).decide(session.poll(0.1).records)
    assert session.commit(batch, [one for of_record in outputs for one in of_record])
    actions = {action: told(metrics, "decisions_total", action=action) for action in ("remove", "review", "allow")}
    assert actions == {"remove": 1, "review": 2, "allow": 1}
    assert told(metrics, "dead_letters_total", stage="decode") == 1
    assert told(metrics, "records_consumed_total") == told(metrics, "records_committed_total") == 5
    assert sum(filter(None, actions.values())) + 1 == 5
    assert told(metrics, "items_errored_total") == 1
    policy = decider().in_force().pipeline.running.policies[0].id  # type: ignore[attr-defined]
    assert told(metrics, "verdicts_total", policy=policy, outcome="match", action="remove", status="live") == 1
    assert told(metrics, "end_to_end_latency_seconds_sum") == 5 * 2.0
    assert told(metrics, "batch_duration_seconds_count", step="decide") == 1
    assert told(metrics, "batch_duration_seconds_count", step="poll") == 1
    assert told(metrics, "batch_size_records_sum") == 5


def test_a_void_batch_counts_no_answer() -> None:
    metrics = Metrics()
    batch = batch_of(record(picture(0.95), IMAGE))
    session = MeteredSession(FakeSession(batch, commits=False), metrics)
    (outputs,) = decider().decide(session.poll(0.1).records)
    assert not session.commit(batch, outputs)
    assert told(metrics, "commits_total", result="void") == 1
    assert (told(metrics, "records_committed_total"), told(metrics, "decisions_total", action="remove")) == (0, None)


def test_the_oldest_record_that_is_not_finished() -> None:
    old, new = record(b"1", offset=1), record(b"2", offset=2)._replace(timestamp_ms=9000)
    first, second = batch_of(old, new._replace(offset=2)), batch_of(new._replace(offset=3))
    lost = Batch(OUTSIDE, assigned=())
    session = MeteredSession(FakeSession(first, second, lost), Metrics(), clock=lambda: 11.0)
    assert session.oldest_seconds == 0
    session.poll(0.1)
    session.poll(0.1)
    assert (session.oldest_seconds, session.joined) == (10.0, True)
    piece, rest = first.split(1)
    session.commit(piece, ())
    assert session.oldest_seconds == 2.0
    session.commit(rest, ())
    assert session.oldest_seconds == 2.0
    session.poll(0.1)
    assert (session.oldest_seconds, session.joined) == (0.0, False)


def test_a_partition_that_is_held_up_is_as_old_as_its_oldest_however_far_the_others_are() -> None:
    stuck, other = (Record(Partition("in", number), 1, 1000 * number, b"", b"", (), 0) for number in (1, 9))
    session = MeteredSession(FakeSession(batch_of(stuck), batch_of(other)), Metrics(), clock=lambda: 11.0)
    session.poll(0.1)
    session.poll(0.1)
    session.commit(batch_of(other), ())
    assert session.oldest_seconds == 10.0
    session.commit(batch_of(stuck), ())
    assert session.oldest_seconds == 0.0


def test_a_record_without_a_time_is_of_no_age() -> None:
    timeless = record(b"1", offset=1)._replace(timestamp_ms=-1)
    session = MeteredSession(
        FakeSession(batch_of(timeless), batch_of(record(b"2", offset=2))), Metrics(), clock=lambda: 3.0
    )
    session.poll(0.1)
    assert session.oldest_seconds == 0.0
    session.poll(0.1)
    assert session.oldest_seconds == 2.0


def test_an_assignment_is_counted_when_it_comes_not_when_it_ends() -> None:
    metrics = Metrics()
    session = MeteredSession(FakeSession(Batch(OUTSIDE, assigned=()), batch_of(assigned=())), metrics)
    session.poll(0.1)
    assert told(metrics, "rebalances_total") == 0
    session.poll(0.1)
    assert told(metrics, "rebalances_total") == 1


def test_assignments_and_what_retention_deleted() -> None:
    metrics = Metrics()
    assigned = (Position(Partition("in", 0), 5), Position(Partition("in", 1), 9, lost=4))
    MeteredSession(FakeSession(batch_of(assigned=assigned)), metrics).poll(0.1)
    assert (told(metrics, "rebalances_total"), told(metrics, "offsets_lost_total")) == (1, 4)


def test_nothing_of_a_record_is_told() -> None:
    metrics = Metrics()
    canary = record(b'{"id": "canary", "text": "canary"}', ("id", b"canary"), key=b"canary")
    session = MeteredSession(FakeSession(batch_of(canary)), metrics)
    outputs = decider().decide(session.poll(0.1).records)
    session.commit(batch_of(canary), outputs[0])
    assert b"canary" not in generate_latest(metrics.registry)


@pytest.mark.parametrize("deaths", [0, 3])
def test_a_record_that_kills_is_counted_by_its_stage(deaths: int) -> None:
    from moderation.stream.dead_letter import Stage

    metrics = Metrics()
    letters = [decider().set_aside(record(b"x"), Stage.CRASH, "killed", "", attempts=3) for _ in range(deaths)]
    MeteredSession(FakeSession(), metrics).commit(batch_of(), letters)
    assert told(metrics, "dead_letters_total", stage="crash") == deaths

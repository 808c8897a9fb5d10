"""What a load test tells of what it counted: what nobody answered, and what was answered more than once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from moderation.cli import bench as command
from moderation.errors import StreamError
from moderation.stream import bench
from moderation.stream.bench import Sender, _result

NOBODY: Any = SimpleNamespace(killed=1, crew=SimpleNamespace(deaths=[-9], peak=5))


def test_records_without_an_answer_are_lost_and_answers_beyond_the_first_are_repeated() -> None:
    places = [(0, offset) for offset in range(10)]
    sender: Any = SimpleNamespace(left=dict.fromkeys(places, 1.0))
    answers: Any = SimpleNamespace(first=dict.fromkeys(places[:7], 3.0), count=9, decisions=8, dead_letters=1)
    found = _result(sender, answers, NOBODY, {places[0]}, began=0.0, ready=2.0)  # type: ignore[arg-type]
    assert (found.records, found.lost, found.repeated, found.measured) == (10, 3, 2, 6)
    assert (found.decisions, found.dead_letters, found.kills, found.deaths) == (8, 1, 1, (-9,))
    assert found.latency is not None
    assert found.latency.p50 == found.latency.largest == 2.0


def test_a_record_that_could_not_be_sent_fails_the_test_also_where_it_was_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    future = Future()
    producer = SimpleNamespace(
        send=lambda *_, **__: future, flush=lambda timeout: future.failure(KafkaTimeoutError(f"{timeout} s"))
    )
    monkeypatch.setattr(bench, "make_producer", lambda *_, **__: producer)
    settings: Any = SimpleNamespace(model_copy=lambda update: update)
    sender = Sender(settings, "items")
    sender.send(b"{}", (), 0)
    with pytest.raises(StreamError, match="a record could not be sent: KafkaTimeoutError"):
        sender.settle()


@pytest.mark.parametrize(
    ("count", "told"), [(1, "1 record: 1 decision, 1 dead letter,"), (2000, "2,000 records: 2,000 decisions,")]
)
def test_one_is_told_as_one_and_thousands_can_be_read(
    count: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command._tell(bench.Result(count, count, 1, 0, 0, 1.0, count, 1.0, None, count, (), None))
    out = capsys.readouterr().out
    assert out.startswith(told)
    assert ("1 worker was killed, " in out) == (count == 1)

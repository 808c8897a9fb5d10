"""What is handed to the client: why it was refused is what is raised."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError, ProducerFencedError
from kafka.producer.future import FutureProduceResult, FutureRecordMetadata
from kafka.structs import TopicPartition

from moderation.stream.batch import Output
from moderation.stream.client import publish


class Producer:
    """The client while one broker is away, and another has an answer."""

    def __init__(self, answer: Exception | None) -> None:
        self.config = {"partitioner": SimpleNamespace(begin=lambda: None)}
        self._answer = answer

    def send(self, topic: str, *_: Any) -> FutureRecordMetadata:
        future = FutureRecordMetadata(FutureProduceResult(TopicPartition(topic, 0)), 0, None, None, -1, -1, -1)
        return future.failure(self._answer) if topic == "answered" and self._answer else future

    def flush(self, timeout: float) -> None:
        raise KafkaTimeoutError("Timeout waiting for future")


@pytest.mark.parametrize("answer", [ProducerFencedError(), None], ids=["refused", "nothing"])
def test_who_waits_for_one_broker_is_told_what_another_refused(answer: Exception | None) -> None:
    """Or a worker that was fenced would be started again, and fence out the one that took its place."""
    outputs = [Output("away", b"0"), Output("answered", b"0")]
    with pytest.raises(type(answer) if answer else KafkaTimeoutError):
        publish(Producer(answer), outputs, seconds=0.1)  # type: ignore[arg-type]

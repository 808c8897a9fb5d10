"""Where reading goes on after an assignment: at what is committed, never at what a client remembers."""

from __future__ import annotations

import time
from typing import Any

from kafka.structs import OffsetAndMetadata, TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Position
from moderation.stream.client import ours


def read_positions(consumer: Any, settings: StreamSettings) -> tuple[Position, ...]:
    """The position of every assigned partition, from the broker. Raises StreamError where `start` or `gap` say stop, else what the client raises."""
    partitions = sorted(consumer.assignment())
    if not partitions:
        return ()
    timeout_ms = round(settings.request_seconds * 1000)
    committed = _committed(consumer, partitions, settings)
    first = consumer.beginning_offsets(partitions, timeout_ms=timeout_ms)
    starts = _starts(consumer, [one for one in partitions if one not in committed], first, settings)
    return tuple(_position(one, (committed | starts)[one], first[one], settings) for one in partitions)


def _committed(consumer: Any, partitions: list[TopicPartition], settings: StreamSettings) -> dict[TopicPartition, Any]:
    """What is committed, where anything is.

    An open transaction of a dead worker holds an offset back until it times out. A time-out of ours must end the process: the client
    keeps a late answer for whoever asks next, be it in another generation.
    """
    end = time.monotonic() + settings.transaction_seconds + settings.request_seconds
    found = {}
    for one in partitions:
        left_ms = max(1, round((end - time.monotonic()) * 1000))
        offset = consumer.committed(one, metadata=True, timeout_ms=left_ms)
        if offset is not None:
            found[one] = offset
    return found


def _starts(
    consumer: Any, new: list[TopicPartition], first: dict[TopicPartition, int], settings: StreamSettings
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Where partitions begin that nobody committed."""
    if not new:
        return {}
    if settings.start == "stop":
        names = ", ".join(str(ours(one)) for one in new)
        raise StreamError(f"nothing is committed for {names}, and start is stop", exit_code=ExitCode.UNREADABLE)
    if settings.start == "earliest":
        return {one: OffsetAndMetadata(first[one], "", -1) for one in new}
    timeout_ms = round(settings.request_seconds * 1000)
    last = consumer.end_offsets(new, timeout_ms=timeout_ms)
    starts = {one: OffsetAndMetadata(last[one], "", -1) for one in new}
    consumer.commit(starts, timeout_ms=timeout_ms)  # or a worker that dies before its first commit would start later
    return starts


def _position(one: TopicPartition, committed: OffsetAndMetadata, first: int, settings: StreamSettings) -> Position:
    lost = max(0, first - committed.offset)
    if lost and settings.gap == "stop":
        said = f"{lost} offsets of {ours(one)}, from {committed.offset} on, were deleted before they were read, and gap is stop"
        raise StreamError(said, exit_code=ExitCode.UNREADABLE)
    return Position(ours(one), committed.offset + lost, committed.metadata or "", lost)

"""Header names that are no UTF-8, kept: Kafka lets any producer write them, and the client would never read past one.

The client has no seam for it. What is replaced is the class of one consumer by which it unpacks a partition's batches, and of a batch only the
reading of a record that failed so; all else is the client's own.
"""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecordBatch

from moderation.stream.batch import ForeignName


def keep_foreign_names(consumer: KafkaConsumer) -> KafkaConsumer:
    """Let this consumer hand out a name that is no UTF-8 as a ForeignName; before, its poll raised CorruptRecordError."""
    consumer._fetcher.PartitionRecords = _Unpacking  # noqa: SLF001 - see above
    return consumer


class _Unpacking(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch of a partition."""

    def _unpack_records(self, partition: Any, batches: Any, *deserializers: Any) -> Any:
        return super()._unpack_records(partition, _Batches(batches), *deserializers)


class _Batches:
    """The batches of one fetch; those of formats before headers as they are."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def next_batch(self) -> Any:
        batch = self._batches.next_batch()
        return _Batch(batch._buffer) if type(batch) is DefaultRecordBatch else batch  # noqa: SLF001


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch whose records are read strictly until a name fails, and from there on with bytes whose text may be foreign."""

    _buffer: bytearray

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:  # it stands where the record began: the client moves on only after a whole one
            self._buffer = _Bytes(self._buffer)
            return super()._read_msg()


class _Bytes(bytearray):
    """Bytes whose slices decode to text as the client asks, or to a ForeignName."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Bytes(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            return ForeignName(super().decode(encoding, "surrogateescape"))

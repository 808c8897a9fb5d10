"""How batches are unpacked: header names that are no UTF-8 are kept, and no batch unpacks into more bytes than may be in flight.

Kafka lets any producer write such a name, and the client would never read past one; a megabyte that is a gigabyte when it is unpacked would end
the process in the middle of a poll, where no note can find the record. The client has no seam for either. What is replaced is the class of one
consumer by which it unpacks a partition's batches, and of a batch only the unpacking, and the reading of a record that failed; all else is the client's own.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import lz4.frame
import zstandard
from kafka import KafkaConsumer
from kafka.codec import snappy_decode
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch

from moderation.errors import ExitCode, StreamError
from moderation.stream.batch import ForeignName


def unpack_safely(consumer: KafkaConsumer, *, most_bytes: int) -> KafkaConsumer:
    """Let this consumer hand out a name that is no UTF-8 as a ForeignName, and raise StreamError for a batch of more than `most_bytes`."""
    consumer._fetcher.PartitionRecords = partial(_Unpacking, most_bytes=most_bytes)  # noqa: SLF001 - see above
    return consumer


class _Unpacking(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch of a partition."""

    def __init__(self, *arguments: Any, most_bytes: int, **options: Any) -> None:
        self._most_bytes = most_bytes
        super().__init__(*arguments, **options)

    def _unpack_records(self, place: Any, batches: Any, *deserializers: Any) -> Any:
        return super()._unpack_records(place, _Batches(batches, place, self._most_bytes), *deserializers)


class _Batches:
    """The batches of one fetch, of any format."""

    def __init__(self, batches: Any, place: Any, most_bytes: int) -> None:
        self._batches, self._place, self._most_bytes = batches, place, most_bytes

    def next_batch(self) -> Any:
        batch, bound = self._batches.next_batch(), (self._place, self._most_bytes)
        if isinstance(batch, LegacyRecordBatch):
            return _OldBatch(batch._buffer, batch.magic, *bound)  # noqa: SLF001
        return batch and _Batch(batch._buffer, *bound)  # noqa: SLF001


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch whose records are read strictly until a name fails, and from there on with bytes whose text may be foreign."""

    _buffer: bytearray
    _pos: int
    _decompressed: bool

    def __init__(self, buffer: Any, place: Any, most_bytes: int) -> None:
        super().__init__(buffer)
        self._place, self._most_bytes = place, most_bytes

    def _maybe_uncompress(self) -> None:
        if self._decompressed or self.compression_type == self.CODEC_NONE:
            super()._maybe_uncompress()
            return
        packed = memoryview(self._buffer)[self._pos :].tobytes()
        found = _unpacked(self, packed, self._place, self._most_bytes)
        self._buffer, self._pos, self._decompressed = bytearray(found), 0, True

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except CorruptRecordError:  # such as half a frame of Zstandard, whose library takes that for all of it
            raise _unreadable(self, self._place, "holds a record of an invalid structure") from None

    def _read_msg(self) -> Any:
        try:
            return super()._read_msg()
        except UnicodeDecodeError:  # it stands where the record began: the client moves on only after a whole one
            self._buffer = _Bytes(self._buffer)
            return super()._read_msg()


class _OldBatch(LegacyRecordBatch):  # type: ignore[misc]
    """A batch of a format before headers, as topics written by old producers still hold them."""

    def __init__(self, buffer: Any, magic: int, place: Any, most_bytes: int) -> None:
        super().__init__(buffer, magic)
        self._place, self._most_bytes = place, most_bytes

    def _decompress(self, key_offset: int) -> Any:
        _, packed = self._read_key_value(key_offset)
        # The first format's LZ4 has a header of its own, which only the client knows; it packs 255-fold at most.
        if packed is None or self.compression_type not in _OLD or (self.compression_type, self.magic) == _OWN_LZ4:
            return super()._decompress(key_offset)
        return _unpacked(self, packed, self._place, self._most_bytes)


_OLD = {LegacyRecordBatch.CODEC_GZIP, LegacyRecordBatch.CODEC_SNAPPY, LegacyRecordBatch.CODEC_LZ4}
_OWN_LZ4 = LegacyRecordBatch.CODEC_LZ4, 0
_PIECE = 1_000_000  # bytes


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


_READERS: Mapping[int, Callable[[io.BytesIO], _Reader]] = MappingProxyType(
    {
        DefaultRecordBatch.CODEC_GZIP: lambda packed: gzip.GzipFile(fileobj=packed),
        DefaultRecordBatch.CODEC_LZ4: lz4.frame.LZ4FrameFile,
        DefaultRecordBatch.CODEC_ZSTD: lambda packed: zstandard.ZstdDecompressor().stream_reader(
            packed, read_across_frames=True
        ),
    }
)


def _unpacked(batch: Any, packed: bytes, place: Any, most: int) -> bytes | bytearray:
    """The bytes of a batch. Raises StreamError where there are more than `most`, and where it cannot be unpacked, which no new start would change."""
    try:
        found = _at_most(batch.compression_type, packed, most)
    except Exception as error:  # noqa: BLE001 - each library raises errors of its own, and no two are related
        raise _unreadable(batch, place, f"cannot be unpacked: {type(error).__name__}") from None
    if found is None:
        raise _unreadable(batch, place, f"unpacks into more than {most} bytes (stream.in_flight_bytes)")
    return found


def _unreadable(batch: Any, place: Any, why: str) -> StreamError:
    where = f"the batch at {place.topic}-{place.partition}:{batch.base_offset}"
    return StreamError(f"{where} {why}", exit_code=ExitCode.UNREADABLE)


def _at_most(codec: int, packed: bytes, most: int) -> bytes | bytearray | None:
    """The bytes of a batch; None where there are more than `most`, of which not much more are unpacked to find out."""
    if codec == DefaultRecordBatch.CODEC_SNAPPY:  # it packs some twentyfold at most
        whole: bytes = snappy_decode(packed)
        return whole if len(whole) <= most else None
    reader, found = _READERS[codec](io.BytesIO(packed)), bytearray()
    while len(found) <= most:
        piece = reader.read(_PIECE)
        if not piece:
            return found
        found += piece
    return None


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

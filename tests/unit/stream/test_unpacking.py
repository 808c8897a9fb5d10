"""Batches as the client's own builder packs them, with names that no client in Python would write."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder
from kafka.record.util import calc_crc32c
from kafka.structs import TopicPartition

from moderation.errors import ExitCode, StreamError
from moderation.stream.batch import ForeignName
from moderation.stream.unpacking import _Unpacking

AT = TopicPartition("in", 0)
CODECS = (0, 1, 2, 3, 4)  # none, gzip, snappy, lz4, zstd
_LENGTH, _SIGNATURE, _HEAD = 8, 17, 61  # bytes of a batch before its length, its checksum, and its records
NAMES = st.binary(max_size=20)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=4)
RECORDS = st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=200), HEADERS), min_size=1, max_size=6)  # fmt: skip


class _Name(str):
    """A name whose bytes are given, as a producer in another language writes it."""

    __slots__ = ("_bytes",)

    def __new__(cls, name: bytes) -> Self:
        made = super().__new__(cls)
        made._bytes = name
        return made

    def encode(self, *_: object) -> bytes:
        return self._bytes


def packed(records: list[tuple[Any, Any, Any]], codec: int = 0, *, magic: int = 2) -> bytes:
    builder = MemoryRecordsBuilder(magic=magic, compression_type=codec, batch_size=1_000_000)
    for key, value, headers in records:
        assert builder.append(1000, key, value, [(_Name(name), told) for name, told in headers]) is not None
    builder.close()
    return bytes(builder.buffer())


def signed(batch: bytearray) -> bytes:
    """The batch with the checksum of what it holds by now."""
    struct.pack_into(">I", batch, _SIGNATURE, calc_crc32c(memoryview(batch)[_SIGNATURE + 4 :]))
    return bytes(batch)


def unpacked(batch: bytes, most_bytes: int = 10_000_000) -> list[Any]:
    return _Unpacking(0, AT, MemoryRecords(batch), most_bytes=most_bytes).take()


@given(records=RECORDS, codec=st.sampled_from(CODECS))
def test_every_record_comes_back_with_the_bytes_of_its_names(records: list[tuple[Any, Any, Any]], codec: int) -> None:
    found = unpacked(packed(records, codec))
    assert [one.offset for one in found] == list(range(len(records)))
    assert [
        (one.key, one.value, [(name.encode("utf-8"), told) for name, told in one.headers]) for one in found
    ] == records
    assert packed([(one.key, one.value, [(name.encode(), told) for name, told in one.headers]) for one in found]) == (
        packed(records)
    )


@pytest.mark.parametrize(("magic", "codec"), [*((2, codec) for codec in CODECS[1:]), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3)])  # fmt: skip
def test_a_batch_that_unpacks_into_too_much_says_where_and_is_not_held(magic: int, codec: int) -> None:
    size = 90_000_000 if codec != 2 else 15_000_000  # snappy packs twentyfold at most
    batch = packed([(None, bytes(size), [])], codec, magic=magic)
    assert len(batch) < 1_000_000
    tracemalloc.start()
    with pytest.raises(StreamError, match=r"the batch at in-0:0 unpacks into more than 5000000 bytes") as refused:
        unpacked(batch, most_bytes=5_000_000)
    assert tracemalloc.get_traced_memory()[1] < (25_000_000 if codec != 2 else 3 * size)
    tracemalloc.stop()
    assert refused.value.exit_code == ExitCode.UNREADABLE
    assert unpacked(batch, most_bytes=size + 100)[0].value == bytes(size)


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_was_packed_badly_and_signed_says_where_and_waits_for_a_person(codec: int) -> None:
    batch = bytearray(packed([(None, bytes(1000), [])], codec))
    batch[_HEAD : _HEAD + 8] = bytes(8)
    with pytest.raises(StreamError, match=r"the batch at in-0:0 cannot be unpacked: \w+$") as refused:
        unpacked(signed(batch))
    assert refused.value.exit_code == ExitCode.UNREADABLE


@pytest.mark.parametrize("codec", CODECS[1:])
def test_half_a_batch_that_was_signed_says_where_and_waits_for_a_person(codec: int) -> None:
    whole = packed([(None, bytes(range(256)) * 4, [])], codec)
    half = bytearray(whole[: (_HEAD + len(whole)) // 2])
    struct.pack_into(">i", half, _LENGTH, len(half) - _LENGTH - 4)
    with pytest.raises(StreamError, match=r"^the batch at in-0:0 (cannot be unpacked|holds a record)") as refused:
        unpacked(signed(half))
    assert refused.value.exit_code == ExitCode.UNREADABLE


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2, 3])
def test_batches_of_old_formats_are_read_as_the_client_reads_them(magic: int, codec: int) -> None:
    records = [(b"key", b"a value", []), (None, b"another", []), (b"gone", None, [])]
    batch = packed(records, codec, magic=magic)
    found = [(one.offset, one.key, one.value) for one in unpacked(batch)]
    client = Fetcher.PartitionRecords(0, AT, MemoryRecords(batch)).take()
    assert found == [(one.offset, one.key, one.value) for one in client]
    assert [row[1:] for row in found] == [(key, value) for key, value, _ in records]


@given(name=NAMES)
def test_only_a_name_that_is_no_utf8_is_foreign(name: bytes) -> None:
    ((found, _),) = unpacked(packed([(None, b"", [(name, b"")])]))[0].headers
    assert isinstance(found, ForeignName) == (name.decode("utf-8", "replace").encode() != name)


def test_what_is_broken_otherwise_is_refused() -> None:
    batch = bytearray(packed([(None, b"value", [(b"\xff", b"told")])]))
    batch[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="crc"):
        unpacked(bytes(batch))
    batch[-7] = 0x7E  # a longer name than there are bytes
    with pytest.raises(StreamError, match=r"the batch at in-0:0 holds a record of an invalid structure"):
        _Unpacking(0, AT, MemoryRecords(bytes(batch)), check_crcs=False, most_bytes=1000).take()

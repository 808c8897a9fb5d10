from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder

from moderation.stream.batch import Batch, Membership, Output, Partition, Record

BYTES = st.one_of(st.none(), st.binary(max_size=300))
HEADERS = st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=100)), max_size=5).map(tuple)
ME = Membership("group", 1, "me", None)


@given(key=BYTES, value=BYTES, headers=HEADERS)
def test_an_output_is_never_larger_to_the_client_than_to_us(key: bytes, value: bytes, headers: tuple) -> None:
    assume(key is not None or value is not None)
    output = Output("out", value, key, headers)
    counted = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, list(headers))
    assert counted <= output.size <= counted + 100


def test_many_headers_are_counted_with_their_lengths() -> None:
    headers = tuple((f"a{number}", b"") for number in range(500))
    counted = DefaultRecordBatchBuilder.estimate_size_in_bytes(b"", b"", list(headers))
    assert counted <= Output("out", b"", b"", headers).size <= counted + 10 * 500 + 100


def test_what_is_shown_holds_no_content() -> None:
    record = Record(Partition("in", 1), 7, 0, b"secret", b"secret", (("secret", b"secret"),), 24)
    assert repr(record) == "Record(in-1 at 7, 24 bytes)"
    assert "secret" not in repr(Output("out", b"secret", b"secret", (("secret", b"secret"),)))
    assert "secret" not in repr(Batch(ME, (record,)))


def test_a_batch_is_split_without_a_loss() -> None:
    records = tuple(Record(Partition("in", 0), offset, 0, None, b"", (), offset) for offset in range(5))
    first, second = Batch(ME, records).split(2)
    assert first.records + second.records == records
    assert (first.membership, second.membership, len(first.records)) == (ME, ME, 2)


def test_only_a_member_of_a_generation_is_one() -> None:
    assert ME.valid
    assert not Membership("group", -1, "me", None).valid
    assert not Membership("group", 1, "", None).valid


def test_an_output_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a key or a value"):
        Output("out", None, None, (("why", b"null"),))

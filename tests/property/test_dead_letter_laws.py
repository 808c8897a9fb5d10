"""A dead letter keeps its record whole, says everything in headers, and says it once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.stream.batch import Partition, Record
from moderation.stream.dead_letter import (
    LONGEST_MESSAGE,
    PREFIX,
    DeadLetter,
    Past,
    Stage,
    is_pointer,
    original,
    past,
    read_dead_letter,
)

HEADERS = st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=9)), max_size=4).map(tuple)
RECORDS = st.builds(
    Record,
    st.builds(Partition, st.sampled_from(["in", "a.b"]), st.integers(0, 9)),
    st.integers(0, 2**62),
    st.integers(0, 2**40),
    st.none() | st.binary(max_size=9),
    st.none() | st.binary(max_size=30),
    HEADERS,
    st.integers(0, 99),
)
LETTERS = st.builds(
    DeadLetter,
    st.builds(Partition, st.text(min_size=1, max_size=9), st.integers(0, 9)),
    st.integers(0, 2**62),
    st.integers(0, 2**40),
    st.sampled_from(Stage),
    st.text(max_size=9),
    st.text(max_size=30),
    st.integers(1, 99),
    st.text(max_size=9),
    st.text(max_size=9),
    st.integers(0, 2**40),
    st.integers(0, 9),
)


def as_record(output: object, at: Record) -> Record:
    from moderation.stream.batch import Output

    assert isinstance(output, Output)
    return Record(Partition(output.topic, 0), 5, at.timestamp_ms, output.key, output.value, output.headers, 0)


@given(RECORDS, LETTERS)
def test_the_record_is_kept_and_what_is_said_is_read_back(record: Record, letter: DeadLetter) -> None:
    kept = as_record(letter.to_output(record, "in.dlq"), record)
    nothing = record.key is None and record.value is None  # the client cannot publish that as it is
    assert (kept.key, kept.value, original(kept)) == (record.key, b"" if nothing else record.value, original(record))
    assert read_dead_letter(kept) == letter
    assert past(kept) == Past(letter.attempts, letter.replays, letter.first_failed_ms)


@given(RECORDS, LETTERS, LETTERS)
def test_what_is_said_again_takes_the_place_of_what_was_said(record: Record, one: DeadLetter, two: DeadLetter) -> None:
    again = as_record(two.to_output(as_record(one.to_output(record, "in.dlq"), record), "in.dlq"), record)
    names = [name for name, _ in again.headers if name.startswith(PREFIX)]
    assert len(names) == len(set(names))
    assert read_dead_letter(again) == two
    assert original(again) == original(record)


@given(RECORDS, LETTERS, st.integers(0, 5000), st.integers(0, 5000))
def test_no_dead_letter_is_larger_than_it_may_be(record: Record, letter: DeadLetter, value: int, key: int) -> None:
    record = record._replace(value=bytes(value), key=bytes(key), size=value + key)
    for largest in (2000, 4000):
        made = letter.to_output(record, "in.dlq", largest=largest)
        again = as_record(made, record)
        assert made.size <= largest
        assert read_dead_letter(again) == letter
        assert is_pointer(again) == (letter.to_output(record, "in.dlq").size > largest)
        assert made.key in {record.key, None}
        assert not is_pointer(again) or dict(made.headers)[PREFIX + "size"] == str(value + key).encode()


@pytest.mark.parametrize("name", ["attempts", "replays", "first_failed"])
def test_a_header_of_ours_with_a_number_without_end_is_a_strangers(name: str) -> None:
    record = Record(Partition("in", 0), 1, 2, b"k", b"v", ((PREFIX + name, b"9" * 4300),), 3)
    assert past(record) == Past()


def test_a_letter_of_a_time_that_nobody_can_show_is_none_of_ours() -> None:
    record = Record(Partition("in", 0), 1, 2, b"k", b"v", (), 3)
    letter = DeadLetter(record.partition, 1, 2, Stage.CRASH, "killed", "", 3, "r", "w", 9)
    for wrong in (replace(letter, timestamp_ms=10**19), replace(letter, first_failed_ms=10**15)):
        assert read_dead_letter(as_record(wrong.to_output(record, "in.dlq"), record)) is None
    assert past(record._replace(headers=((PREFIX + "first_failed", b"9" * 19),))) == Past()


def test_negative_counts_are_a_strangers_too() -> None:
    record = Record(Partition("in", 0), 1, 2, b"k", b"v", ((PREFIX + "attempts", b"-5"),), 3)
    assert past(record) == Past()
    letter = DeadLetter(record.partition, 1, 2, Stage.CRASH, "killed", "", 3, "r", "w", 9)
    negative = {"origin": Partition("in", -1), "offset": -1, "attempts": -1, "replays": -1}
    for wrong in (replace(letter, **{name: number}) for name, number in negative.items()):
        assert read_dead_letter(as_record(wrong.to_output(record, "in.dlq"), record)) is None


@given(RECORDS)
def test_any_record_may_be_asked(record: Record) -> None:
    assert read_dead_letter(record) is None or any(name.startswith(PREFIX) for name, _ in record.headers)
    assert past(record).attempts >= 0


def test_a_header_without_a_value_and_a_long_message() -> None:
    record = Record(Partition("in", 0), 1, 2, b"k", b"v", (("a", None), ("b", b"1")), 3)
    letter = DeadLetter(record.partition, 1, 2, Stage.CRASH, "killed", "x" * 5000, 3, "r", "w", 9)
    made = letter.to_output(record, "in.dlq")
    assert made.headers[:2] == (("a", b""), ("b", b"1"))
    told = read_dead_letter(as_record(made, record))
    assert told is not None
    assert len(told.message) == LONGEST_MESSAGE

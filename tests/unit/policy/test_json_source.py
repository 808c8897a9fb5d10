from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.policy.json_source import DuplicateKeyError, holds_more_values, place_of, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "\\u0061": 2}}]'])
def test_a_key_stands_once_however_it_is_spelled_and_wherever(text: bytes) -> None:
    with pytest.raises(DuplicateKeyError):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"NaN", "NaN is not a number of JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "codec"),
        ("{}".encode("utf-16"), "codec"),
        (b"{", "line 1"),
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"a": 1,\n "b" zebra}', "line 2, column 6: Expecting ':' delimiter"),
        (b"{'a': 1}", "line 1, column 2: Expecting property name enclosed in double quotes"),
        (b'{"a": "zebra', "line 1, column 7: Unterminated string starting at"),
        (b'["\\zebra"]', "line 1, column 3: Invalid \\escape"),
        (b"[1] zebra", "line 1, column 5: Extra data"),
        (b'["zebra\xff"]', "byte 7 is no UTF-8"),
        (b"[" * 100_000, "nested too deeply, or a number that JSON does not have"),
        (b"[Infinity]", "nested too deeply, or a number that JSON does not have"),
        (b"9" * 5000, "nested too deeply, or a number that JSON does not have"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_place_and_without_a_word_of_it(text: bytes, found: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - of several kinds
        read_json(text)
    assert place_of(refused.value) == found


_TEXTS = st.text(alphabet='a",[{\\\u00e9', max_size=8)
_VALUES = st.recursive(
    st.none() | st.integers(0, 99) | _TEXTS,
    lambda one: st.lists(one, max_size=5) | st.dictionaries(_TEXTS, one, max_size=5),
    max_leaves=40,
)


def _count(value: Any) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inside))


@given(_VALUES, st.booleans(), st.integers(0, 60))
def test_values_are_counted_without_reading_them(value: Any, plain: bool, most: int) -> None:
    text = json.dumps(value, ensure_ascii=plain, separators=(",", ":")).encode()
    if 2 * _count(value) <= most:  # what is empty counts twice
        assert not holds_more_values(text, most)
    if _count(value) > most + 1 and len(text) > 2 * most:
        assert holds_more_values(text, most)


@pytest.mark.parametrize("text", [b'"' * 10**6, b"\\" * 10**6, b'["' + b'\\"' * 10**6, b"[" * 10**6, b"[1," * 10**6])
def test_no_text_takes_long_to_count(text: bytes) -> None:
    assert holds_more_values(text, 10) in (True, False)

"""JSON read strictly: nothing that two readers could read differently, and nothing that JSON does not have."""

from __future__ import annotations

import json
from typing import Any


class DuplicateKeyError(ValueError):
    """A key stands twice in one object: of two values, readers would take different ones."""


def read_json(text: bytes | bytearray) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError: UnicodeDecodeError and JSONDecodeError with the place, DuplicateKeyError, and a plain one for NaN, Infinity
    and what is nested too deeply.
    """
    try:
        return _STRICT.decode(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def place_of(error: ValueError) -> str:
    """What `read_json` found and where, without a word of what it read."""
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}, column {error.colno}: {error.msg.partition(': ')[0]}"  # a character may stand behind it
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no UTF-8"
    return "nested too deeply, or a number that JSON does not have"


def holds_more_values(text: bytes | bytearray, most: int) -> bool:
    """Whether a JSON text holds more values than this, found in the time of a copy: reading ten million of them takes seconds.

    What is no JSON may be told either way; `read_json` tells that.
    """
    if len(text) <= 2 * most:  # a value takes two bytes, with what parts it from the next
        return False
    parting = (b",", b"[", b"{")
    # Inside strings and outside: one long string, as a picture's, is not copied.
    if sum(map(text.count, parting)) <= most:
        return False
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")  # so that every quote begins or ends a string
    if bare.count(b'"') > 4 * most:  # a key and a value for each
        return True
    outside = b"".join(bare.split(b'"')[::2])
    return sum(map(outside.count, parting)) > most


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise DuplicateKeyError("a key is written twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)  # `json.loads` would make one a call

"""JSON read strictly: nothing that two readers could read differently, and nothing that JSON does not have."""

from __future__ import annotations

import json
from typing import Any


class DuplicateKeyError(ValueError):
    """A key stands twice in one object: of two values, readers would take different ones."""


def read_json(text: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError: UnicodeDecodeError and JSONDecodeError with the place, DuplicateKeyError, and a plain one for NaN, Infinity
    and what is nested too deeply.
    """
    try:
        return _STRICT.decode(text.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise DuplicateKeyError("a key is written twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)  # `json.loads` would make one a call

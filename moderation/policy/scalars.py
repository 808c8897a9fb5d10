"""What an unquoted YAML value means, where readers of YAML 1.1 and 1.2 agree; where they do not, it is refused."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

# A Path stands only where a file name was joined to its folder after reading.
Scalar = str | int | float | bool | dt.date | Path | None

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_SURPRISES = (
    (re.compile(r"y|n|yes|no|on|off", re.IGNORECASE), "is a yes-or-no word to some YAML readers and a text to others"),
    (re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?"), "is a number in base 60 to some YAML readers"),
    (re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE), "is not a finite number"),
    (
        re.compile(r"[-+]?0(x[0-9a-f_]+|b[01_]+|o?[0-7_]+)", re.IGNORECASE),
        "is octal, hexadecimal or binary to some YAML readers",
    ),
    (
        re.compile(r"[-+]?(\.?[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*)(e[-+]?[0-9]+)?", re.IGNORECASE),
        "is written in a way that YAML readers do not agree on",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "is a date or a time to some YAML readers"),
)


def resolve(text: str) -> tuple[Scalar, str | None]:
    """The value of an unquoted scalar, and why it is refused where it is; a refused one stays a text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text], None
    for pattern, read in ((_INTEGER, int), (_FLOAT, float), (_DATE, dt.date.fromisoformat)):
        if pattern.fullmatch(text):
            try:
                return read(text), None
            except ValueError:
                return text, f"{text} is not a day of the calendar; quote it if it is a text"
    return text, _surprise(text)


def _surprise(text: str) -> str | None:
    """Why readers of YAML 1.1 and 1.2 would not agree on an unquoted value, or None where they do."""
    for pattern, why in _SURPRISES:
        if pattern.fullmatch(text):
            return (
                f"unquoted {text} {why}; quote a text, write a number as plain digits such as 0.001, a boolean as true"
            )
    return None

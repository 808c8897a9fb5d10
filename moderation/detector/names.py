"""What ids, labels and reasons may look like: short lower-case words, stable for ever, safe in logs and metrics."""

from __future__ import annotations

import re

_SLUG = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LABEL = re.compile(rf"{_SLUG.pattern}(?:/{_SLUG.pattern})*")
_WORD = re.compile(r"[a-z][a-z0-9_]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]*")
LONGEST = 64
# What an id is, in the words of every message.
SLUG = "lower-case letters and digits, a letter first, with single dashes or underscores between"


def is_slug(text: str) -> bool:
    """Whether this may be an id: what SLUG says, and no longer than LONGEST."""
    return len(text) <= LONGEST and bool(_SLUG.fullmatch(text))


def is_label(text: str) -> bool:
    """Whether this may be a label: like an id, with slashes for sub-categories (`self-harm/intent`)."""
    return len(text) <= LONGEST and bool(_LABEL.fullmatch(text))


def is_word(text: str) -> bool:
    """Whether this may be a reason: lower-case words joined by underscores."""
    return len(text) <= LONGEST and bool(_WORD.fullmatch(text))


def is_revision(text: str) -> bool:
    """Whether this may be an edition's name: a digest, a version, a date; letters, digits and `._+:-`."""
    return len(text) <= LONGEST and bool(_REVISION.fullmatch(text))


def is_name(text: str) -> bool:
    """Whether this may be a cause: a word, or a name as programs have them (`MemoryError`)."""
    return len(text) <= LONGEST and bool(_NAME.fullmatch(text))

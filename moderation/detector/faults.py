"""What a detector's, or a reader's, own failure is called, as an abstention's reason; every other reason is about the content."""

from __future__ import annotations

from moderation.decision import Abstention
from moderation.errors import ModerationError

ERROR, TIMEOUT, BAD_ANSWER, QUARANTINED = "detector_error", "detector_timeout", "bad_answer", "quarantined"
READER_ERROR, READER_TIMEOUT = "reader_error", "reader_timeout"
FAULTS = frozenset({ERROR, TIMEOUT, READER_ERROR, READER_TIMEOUT, BAD_ANSWER, QUARANTINED})

LONGEST_CAUSE = 300

WRONG = Abstention(BAD_ANSWER)  # in place of an answer that no detector may give


class FaultError(Exception):
    """A call of a detector failed: `reason` is one of FAULTS, `cause` a word that says more, or ""."""

    def __init__(self, reason: str, cause: str = "") -> None:
        self.reason, self.cause = reason, cause
        super().__init__(f"{reason}: {cause}" if cause else reason)


class SetupError(Exception):
    """A unit cannot be set up; the message is the cause, one line for people."""


def describe(error: BaseException) -> str:
    """An error's type and the first line of its message; a message that cannot be had is left out."""
    kind = kind_of(error)
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - the handler that isolates a plugin must not fail at its error's own __str__
        lines = []
    if isinstance(error, ModerationError):
        return lines[0][:LONGEST_CAUSE] if lines else kind
    return f"{kind}: {lines[0]}"[:LONGEST_CAUSE] if lines else kind


def kind_of(error: BaseException) -> str:
    """The name of an error's type, read past any metaclass: a message may hold content, and asking for it may raise again."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name

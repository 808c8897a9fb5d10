"""What a detector's own failure is called, as an abstention's reason; every other reason is about the content."""

from __future__ import annotations

from moderation.decision import Abstention

ERROR, TIMEOUT, BAD_ANSWER, QUARANTINED = "detector_error", "detector_timeout", "bad_answer", "quarantined"
FAULTS = frozenset({ERROR, TIMEOUT, BAD_ANSWER, QUARANTINED})

WRONG = Abstention(BAD_ANSWER)  # in place of an answer that no detector may give


class FaultError(Exception):
    """A call of a detector failed: `reason` is one of FAULTS, `cause` a word that says more, or ""."""

    def __init__(self, reason: str, cause: str = "") -> None:
        self.reason, self.cause = reason, cause
        super().__init__(f"{reason}: {cause}" if cause else reason)


def kind_of(error: BaseException) -> str:
    """The name of an error's type, read past any metaclass: a message may hold content, and asking for it may raise again."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return name

"""What a detector may answer: one tuple of scores or one abstention a part, and nothing that cannot be kept in a decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection
from moderation.detector.faults import WRONG
from moderation.detector.names import is_name, is_word

TOLERANCE = 1e-6  # of equal scores, where nobody says otherwise: what decisions round to
LONGEST_CONCEPT = 200
MOST_EVIDENCE = 1000


def check_answers(answers: object, length: int, labels: frozenset[str]) -> tuple[Detection, ...]:
    """A detector's answer, with an abstention `bad_answer` wherever it is not what a detector may say.

    A wrong length spoils the whole batch, for then nobody knows which answer belongs to which part. A part's scores must
    cover exactly the labels that the detector declared: a label left out is not a score of 0.
    """
    if not isinstance(answers, Sequence) or isinstance(answers, str | bytes) or len(answers) != length:
        return (WRONG,) * length
    return tuple(_check(one, labels) for one in answers)


def alike(one: Detection, other: Detection, *, tolerance: float = TOLERANCE) -> bool:
    """Whether two good answers of one detector say the same: the same abstention, or scores that agree within `tolerance`, with equal concepts."""
    if isinstance(one, Abstention) or isinstance(other, Abstention):
        return one == other
    scores = {score.label: score for score in other}
    return all(
        abs(score.value - scores[score.label].value) <= tolerance and score.concept == scores[score.label].concept
        for score in one
    )


def _check(answer: object, labels: frozenset[str]) -> Detection:
    if isinstance(answer, Abstention):
        return answer if is_told(answer) else WRONG
    if not isinstance(answer, tuple) or not all(_is_score(one) for one in answer):
        return WRONG
    if len(answer) != len(labels) or {score.label for score in answer} != labels:
        return WRONG
    if all(type(score.value) is float for score in answer):
        return answer
    return tuple(replace(score, value=float(score.value)) for score in answer)


def is_told(answer: Abstention) -> bool:
    """Whether reason and cause, which are kept in decisions, are stable words, never a piece of content."""
    told = isinstance(answer.reason, str) and is_word(answer.reason) and isinstance(answer.cause, str)
    return told and (not answer.cause or is_name(answer.cause))


def _is_score(score: object) -> bool:
    if not isinstance(score, Score) or not isinstance(score.label, str) or not _is_share(score.value):
        return False
    named = score.concept is None or (isinstance(score.concept, str) and len(score.concept) <= LONGEST_CONCEPT)
    return named and (score.evidence is None or _is_evidence(score.evidence))


def _is_share(value: object) -> bool:
    """Whether it is a number in [0, 1], which NaN is not; of numpy's, or a fraction, too."""
    if type(value) is float:  # nearly always, and asked of an abstract class it takes ten times as long
        return 0.0 <= value <= 1.0
    return isinstance(value, Real) and not isinstance(value, bool) and bool(0.0 <= float(value) <= 1.0)


def _is_evidence(evidence: object) -> bool:
    # A plain dict and plain numbers: what is kept in a decision must not change or raise when it is written.
    return (
        type(evidence) is dict
        and len(evidence) <= MOST_EVIDENCE
        and all(type(name) is str and len(name) <= LONGEST_CONCEPT for name in evidence)
        and all(type(one) is float and math.isfinite(one) for one in evidence.values())
    )

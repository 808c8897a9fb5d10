"""The rule of decide.py over columns: many items under one policy at once, each exactly as `judge` would have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Outcome
from moderation.policy.decide import DIGITS, REVIEW, Terms

OUTCOMES = tuple(Outcome)
NONE = -1

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Verdicts on n items: `outcome` int64 [n] is the place among OUTCOMES, `force` int64 [n] that of the action in the order of force, NONE for none."""

    outcome: Places
    force: Places


def judge_columns(
    terms: Terms,
    scores: NDArray[np.float64],
    *,
    parts: NDArray[Any],
    silent: NDArray[np.bool_],
    order: Sequence[str],
) -> Judged:
    """What `judge` says of n items whose highest scores are these, NaN where nothing had one.

    `parts` [n] counts an item's parts in the policy's scope, `silent` [n] marks items of which a part, or a detector, gave no score.
    ε is taken to be a multiple of 1e-6, as it is measured.
    """
    value = np.round(scores, DIGITS)
    force, review = _fire(terms, value, parts > terms.max_parts, order)
    lost = np.isnan(value) | (silent & (force < order.index(terms.on_error)))
    if not terms.cuts:
        lost[:] = True
    outcome = np.where(
        lost,
        OUTCOMES.index(Outcome.ERROR),
        np.where(
            force == NONE,
            OUTCOMES.index(Outcome.NO_MATCH),
            np.where(review, OUTCOMES.index(Outcome.REVIEW), OUTCOMES.index(Outcome.MATCH)),
        ),
    )
    return Judged(outcome.astype(np.int64), np.where(lost, order.index(terms.on_error), force).astype(np.int64))


def _fire(
    terms: Terms, value: NDArray[np.float64], too_many: NDArray[np.bool_], order: Sequence[str]
) -> tuple[Places, NDArray[np.bool_]]:
    """The force of what fires, and whether it is for review: what surely fires stands, what only might fire counts up to review."""
    sure = np.where(too_many, NONE, _strongest(terms, np.round(value - terms.epsilon, DIGITS), order))
    might = _strongest(terms, np.round(value + terms.epsilon, DIGITS), order)
    review = order.index(REVIEW) if REVIEW in order else NONE
    cap = order.index(REVIEW if REVIEW in order else terms.on_error)
    capped = np.minimum(might, cap)
    stands = (might != NONE) & (sure >= capped)
    return np.where(stands, sure, capped).astype(np.int64), ~stands | (sure == review)


def _strongest(terms: Terms, value: NDArray[np.float64], order: Sequence[str]) -> Places:
    fired = np.full(len(value), NONE, np.int64)
    for cut in terms.cuts:
        np.maximum(fired, np.where(value >= cut.threshold, order.index(cut.action), NONE), out=fired)
    return fired

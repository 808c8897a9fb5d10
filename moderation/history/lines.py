"""Decisions as JSON lines, as `scan --json` and `--out` write them: read one by one, and every wrong line located."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from moderation.decision import Decision
from moderation.errors import DataError, Problem
from moderation.meant import neighbour
from moderation.policy.manifest import bounded_lines

_TEXTS = ("policy", "version", "revision", "status")
_PERHAPS_TEXTS = ("action", "concept", "part", "detector", "label", "error", "cause")
_PERHAPS_NUMBERS = ("score", "calibrated", "threshold", "margin")


def read_lines(path: Path) -> Iterator[tuple[int, Decision]]:
    """Every decision of a file with its line, from 1. Raises DataError for what cannot be read, at its line."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError([Problem(path, 0, 0, "D001", f"cannot be read: {error.strerror}{neighbour(path)}")]) from None
    with stream:
        for number, line in enumerate(bounded_lines(stream), start=1):
            if line is not None and not line.strip():
                continue
            try:
                decision = Decision.from_dict(json.loads(line or b""))
                _check(decision)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                message = "expected a decision as JSON, as `moderation scan --json` writes it"
                raise DataError([Problem(path, number, 1, "D003", message)]) from None
            yield number, decision


def _check(decision: Decision) -> None:
    """Raises ValueError for values of other types than a decision has."""
    texts = [decision.item_id, decision.decision_id, decision.action, decision.proposed, *decision.encoders.values()]
    texts += decision.detectors.values()
    numbers = [decision.timing.decode, decision.timing.encode, decision.timing.detect, decision.timing.read]
    for verdict in decision.verdicts:
        texts += [getattr(verdict, name) for name in _TEXTS]
        texts += [value for name in _PERHAPS_TEXTS if (value := getattr(verdict, name)) is not None]
        numbers += [value for name in _PERHAPS_NUMBERS if (value := getattr(verdict, name)) is not None]
        if verdict.evidence is not None:
            texts, numbers = [*texts, *verdict.evidence], [*numbers, *verdict.evidence.values()]
        if verdict.region is not None:
            left, top, right, bottom = verdict.region  # raises ValueError for more or fewer
            numbers += [left, top, right, bottom]
        if not decision.item_id or any(character in verdict.policy + verdict.revision for character in "@."):
            raise ValueError("an item needs an id, and policies and revisions have names of their kind")
    if not all(isinstance(one, str) for one in texts) or not isinstance(decision.cache_hit, bool):
        raise TypeError("expected texts")
    "".join([*texts, *decision.encoders, *decision.detectors]).encode()  # half a surrogate pair is no text
    if not all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in numbers):
        raise TypeError("expected numbers")
    if not all(verdict.score is None or 0.0 <= verdict.score <= 1.0 for verdict in decision.verdicts):
        raise ValueError("expected scores from 0 to 1")

"""Splits that share nothing: near-duplicates between what a classifier is made from and what certifies it, each with both places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from moderation.compiler.near import near_duplicates
from moderation.errors import DataError, Problem
from moderation.item import Modality, Part
from moderation.policy.manifest import TargetRow
from moderation.settings import ImageLimits

UNREADABLE = Part(Modality.IMAGE, b"")  # like nothing; whoever needs the row says what is wrong with it

Pair = tuple[TargetRow, TargetRow]


def alike(
    rows: Sequence[TargetRow], *, limits: ImageLimits, advance: Callable[[int], None] = lambda _count: None
) -> list[Pair]:
    """Pairs of rows that are nearly the same content under two names, in order; the same bytes are told elsewhere."""
    pairs = near_duplicates((_content(row) for row in rows), limits=limits, advance=advance)
    named = [(rows[one], rows[other]) for one, other in pairs]
    return [(one, other) for one, other in named if one.cluster != other.cluster and one.sha256 != other.sha256]


def leaks(pairs: Sequence[Pair], manifest: Sequence[TargetRow], *, why: str) -> list[Problem]:
    """One problem for each row of `manifest` that is nearly a row of another one, located at the former.

    `why` says for people what is wrong with that.
    """
    own = {(row.manifest, row.line) for row in manifest}
    problems: dict[tuple[Path, int], Problem] = {}
    for pair in pairs:
        sides = [(row.manifest, row.line) in own for row in pair]
        if sides.count(True) == 1:
            here, there = pair if sides[0] else pair[::-1]
            problems.setdefault((here.manifest, here.line), _problem(here, there, why))
    return list(problems.values())


def counted_twice(pairs: Sequence[Pair], manifest: Sequence[TargetRow]) -> list[Problem]:
    """What stands in one manifest under two clusters though it is nearly the same: one object that counts as two."""
    own = {(row.manifest, row.line) for row in manifest}
    inside = [pair for pair in pairs if own.issuperset((row.manifest, row.line) for row in pair)]
    return [_problem(there, here, "one object counts as two; expected one cluster") for here, there in inside]


def _problem(here: TargetRow, there: TargetRow, why: str) -> Problem:
    where = f"{there.manifest}:{there.line}"
    what = here.path or "the text"
    message = f"{what} of cluster {here.cluster!r} is nearly the content of {where}, cluster {there.cluster!r}; {why}"
    return here.problem("D008", message)


def _content(row: TargetRow) -> Part:
    try:
        return row.read()
    except DataError:
        return UNREADABLE

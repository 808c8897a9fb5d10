"""Splits that share nothing: near-duplicates between what a classifier is made from and what certifies it, each with both places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from moderation.compiler.near import near_duplicates
from moderation.errors import DataError, Problem
from moderation.item import Part
from moderation.policy.manifest import TargetRow
from moderation.settings import ImageLimits

Pair = tuple[TargetRow, TargetRow]


def alike(
    rows: Sequence[TargetRow], *, limits: ImageLimits, advance: Callable[[int], None] = lambda _count: None
) -> list[Pair]:
    """Pairs of rows that are nearly the same content under two names, in order; the same bytes are told elsewhere."""
    owners: list[int] = []  # which row each part is of

    def parts() -> Iterator[Part]:
        for place, row in enumerate(rows):
            for part in _parts(row):
                owners.append(place)
                yield part
            advance(1)

    pairs = near_duplicates(parts(), limits=limits)
    named = dict.fromkeys((owners[one], owners[other]) for one, other in pairs)
    return [
        (rows[a], rows[b]) for a, b in named if rows[a].cluster != rows[b].cluster and rows[a].sha256 != rows[b].sha256
    ]


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
    """One problem for each row that is nearly an earlier one of the same manifest, of another cluster: one object counts as two."""
    own = {(row.manifest, row.line) for row in manifest}
    problems: dict[tuple[Path, int], Problem] = {}
    for there, here in pairs:
        if own.issuperset((row.manifest, row.line) for row in (there, here)):
            why = "one object counts as two; expected one cluster"
            problems.setdefault((here.manifest, here.line), _problem(here, there, why))
    return list(problems.values())


def _problem(here: TargetRow, there: TargetRow, why: str) -> Problem:
    where = f"{there.manifest}:{there.line}"
    message = f"{here.what} of cluster {here.cluster!r} is nearly the same as {where}, cluster {there.cluster!r}; {why}"
    return here.problem("D008", message)


def _parts(row: TargetRow) -> tuple[Part, ...]:
    """The row's parts; of one that cannot be read none: whoever needs it says what is wrong with it."""
    try:
        return row.item().parts
    except DataError:
        return ()

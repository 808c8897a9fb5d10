"""Splits that share nothing: no content, no cluster, no near-duplicate; inside one, near-duplicates are one cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from moderation.compiler.near import near_duplicates
from moderation.errors import DataError, Problem
from moderation.item import Part
from moderation.policy.manifest import TargetRow, disjoint, load_manifest
from moderation.policy.schema import Policy
from moderation.settings import ImageLimits

NOT_ORDINARY = "a background holds ordinary content of its own, none that a classifier is fitted on"
NO_EVIDENCE = "what a classifier is made from, or audited on, cannot certify it: take one of the two rows out"
NO_AUDIT = "what a classifier is made from, or certified on, cannot audit it: take one of the two rows out"

Pair = tuple[TargetRow, TargetRow]
Progress = Callable[
    [str, int], AbstractContextManager[Callable[[int], None]]
]  # what is done, of how many; then, how many more are done


@contextmanager
def silent(_what: str, _total: int) -> Iterator[Callable[[int], None]]:
    """Tells nobody how far it is."""
    yield lambda _count: None


def other_rows(policy: Policy, background: Iterable[TargetRow], *, use: str) -> list[TargetRow]:
    """What the targets of one use, `certify` or `audit`, must share nothing with: the background, and the policy's other manifests.

    Of a manifest that cannot be read none: the lock itself knows the digests and clusters that it was made from.
    """
    data = [getattr(policy.data, one) for one in ("audit", "certify", "fit") if one != use]
    manifests = *data, policy.exemplars.violating, policy.exemplars.contrast
    return [*background, *(row for one in manifests if one for row in _readable(one))]


def hold_apart(
    rows: Sequence[TargetRow],
    others: Sequence[TargetRow],
    *,
    why: str,
    limits: ImageLimits,
    progress: Progress = silent,
) -> list[Pair]:
    """The pairs of `rows` that are nearly the same content in two clusters, in order.

    Raises DataError with every row that shares a content or its cluster with one of `others`, or else is nearly the same; `why` says for
    people what is wrong with that. Pictures over the `limits` are like nothing.
    """
    if problems := disjoint(others, rows):
        raise DataError(problems)
    with progress("looking for near-duplicates", len(others) + len(rows)) as advance:
        pairs = alike([*others, *rows], limits=limits, advance=advance)
    if problems := leaks(pairs, rows, why=why):
        raise DataError(problems)
    own = set(map(id, rows))
    return [pair for pair in pairs if own.issuperset(map(id, pair))]


def joined(rows: Sequence[TargetRow], pairs: Iterable[Pair]) -> tuple[list[TargetRow], list[Pair]]:
    """The rows, the clusters that a pair links taken for one, under the least of their names; and the pairs that it took, one for each cluster less."""
    names = {row.cluster: row.cluster for row in rows}
    taken = []
    for pair in pairs:
        least, other = sorted(_name(names, row.cluster) for row in pair)
        if least != other:
            names[other] = least
            taken.append(pair)
    return [replace(row, cluster=_name(names, row.cluster)) for row in rows], taken


def alike(
    rows: Sequence[TargetRow], *, limits: ImageLimits, advance: Callable[[int], None] = lambda _count: None
) -> list[Pair]:
    """Pairs of rows that are nearly the same content, in two clusters, in order."""
    owners: list[int] = []  # which row each part is of

    def parts() -> Iterator[Part]:
        for place, row in enumerate(rows):
            for part in _parts(row):
                owners.append(place)
                yield part
            advance(1)

    pairs = near_duplicates(parts(), limits=limits)
    named = dict.fromkeys((owners[one], owners[other]) for one, other in pairs)
    return [(rows[a], rows[b]) for a, b in named if rows[a].cluster != rows[b].cluster]


def leaks(pairs: Sequence[Pair], manifest: Sequence[TargetRow], *, why: str) -> list[Problem]:
    """One problem for each of these rows that is nearly one of the others, located at the former.

    `why` says for people what is wrong with that.
    """
    own = set(map(id, manifest))
    problems: dict[int, Problem] = {}
    for pair in pairs:
        sides = [id(row) in own for row in pair]
        if sides.count(True) == 1:
            here, there = pair if sides[0] else pair[::-1]
            problems.setdefault(id(here), _problem(here, there, why))
    return list(problems.values())


def foreseen(
    known: Mapping[str, Sequence[TargetRow]], *, limits: ImageLimits, progress: Progress = silent
) -> tuple[list[Problem], list[Problem]]:
    """What `compile`, `certify` and `audit` will refuse as nearly the same, each pair once; and what `certify` will count as one object.

    `known` are a policy's manifests by use; `audit`, `certify` and `background` must share nothing with any other. The very same content is left to `disjoint`.
    """
    rows = [row for one in known.values() for row in one]
    with progress("looking for near-duplicates", len(rows)) as advance:
        found = alike(rows, limits=limits, advance=advance)
    pairs = [(one, other) for one, other in found if set(one.digests).isdisjoint(other.digests)]
    own = set(map(id, known.get("certify", ())))
    once = counted_once(joined(known.get("certify", ()), (pair for pair in pairs if own.issuperset(map(id, pair))))[1])
    refused: list[Problem] = []
    for use, why in (("audit", NO_AUDIT), ("certify", NO_EVIDENCE), ("background", NOT_ORDINARY)):
        held = set(map(id, known.get(use, ())))
        refused += leaks(pairs, known.get(use, ()), why=why)
        pairs = [pair for pair in pairs if held.isdisjoint(map(id, pair))]
    return refused, once


def counted_once(pairs: Iterable[Pair]) -> list[Problem]:
    """One problem for each pair of two clusters that were taken for one, located at the later row."""
    return [_problem(here, there, "they count as one object; expected one cluster") for there, here in pairs]


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


def _name(names: dict[str, str], cluster: str) -> str:
    while names[cluster] != cluster:
        names[cluster] = names[names[cluster]]  # halves the way for whoever comes next
        cluster = names[cluster]
    return cluster


def _readable(manifest: Path) -> tuple[TargetRow, ...]:
    try:
        return load_manifest(manifest, check_files=False)
    except DataError:
        return ()

"""What `compile` and `certify` do about near-duplicates: refuse what leaks from one split into another, tell what counts twice."""

from __future__ import annotations

from collections.abc import Sequence

from moderation.cli import terminal
from moderation.errors import DataError
from moderation.policy.manifest import TargetRow
from moderation.release import splits
from moderation.settings import ImageLimits

NAMED = 5  # of the rows that count twice
NOT_ORDINARY = "a background holds ordinary content, and this is a copy of what breaks the policy"
NO_EVIDENCE = "what a classifier is made from, or audited on, cannot certify it"


def refuse_background(fit: Sequence[TargetRow], background: Sequence[TargetRow], limits: ImageLimits) -> None:
    """Raises DataError with every row of the background that is nearly a violating fit target."""
    pairs = _alike([*(row for row in fit if row.target), *background], limits)
    if problems := splits.leaks(pairs, background, why=NOT_ORDINARY):
        raise DataError(problems)


def refuse_leaks(rows: Sequence[TargetRow], others: Sequence[TargetRow], limits: ImageLimits) -> None:
    """Raises DataError with every row to certify on that is nearly one of the others; notes those that are nearly one another."""
    pairs = _alike([*others, *rows], limits)
    if problems := splits.leaks(pairs, rows, why=NO_EVIDENCE):
        raise DataError(problems)
    twice = splits.counted_twice(pairs, rows)
    for problem in twice[:NAMED]:
        terminal.note(str(problem))
    if len(twice) > NAMED:
        terminal.note(
            f"and {len(twice) - NAMED} more that are nearly another row of another cluster, {len(twice)} in all"
        )


def _alike(rows: Sequence[TargetRow], limits: ImageLimits) -> list[splits.Pair]:
    with terminal.progress("looking for near-duplicates", len(rows)) as advance:
        return splits.alike(rows, limits=limits, advance=advance)

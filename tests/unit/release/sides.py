"""Items and sides for tests, made from plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from moderation.history.items import NO_DAY, UNKNOWN, Items, column_of, marks_of
from moderation.release.comparison import ERROR, NOTHING, OUT_OF_SCOPE, Side, bands_of
from tests.fakes import ACTIONS

BANDS = bands_of(ACTIONS)


class Row(NamedTuple):
    """One item: the band and score that each side gives it, and what is known of it."""

    before: str = NOTHING
    after: str = NOTHING
    cluster: str = ""
    attributes: Mapping[str, str] = {}
    target: bool | None = None
    weight: float = np.nan
    day: int = NO_DAY
    scores: tuple[float, float] = (0.5, 0.5)
    concept: str | None = "a gun"


def items_of(rows: Sequence[Row], *, first: int = 0) -> Items:
    """The rows' items, named by their numbers."""
    names = [str(first + number) for number in range(len(rows))]
    return Items(
        item=np.array(names, object),
        mark=marks_of(names),
        cluster=marks_of(row.cluster or name for row, name in zip(rows, names, strict=True)),
        attributes={
            name: column_of(row.attributes.get(name) for row in rows)
            for name in sorted({name for row in rows for name in row.attributes})
        },
        target=np.array([UNKNOWN if row.target is None else row.target for row in rows], np.int8),
        weight=np.array([row.weight for row in rows], np.float64),
        day=np.array([row.day for row in rows], np.int64),
    )


def sides_of(rows: Sequence[Row]) -> tuple[Side, Side]:
    """What both sides say of the rows; an error asks for review."""
    return _side(rows, 0), _side(rows, 1)


def _side(rows: Sequence[Row], place: int) -> Side:
    bands = [row[place] for row in rows]
    asked = [{ERROR: "review", NOTHING: "allow", OUT_OF_SCOPE: "allow"}.get(band, band) for band in bands]
    return Side(
        np.array([BANDS.index(band) for band in bands], np.int64),
        np.array([ACTIONS.index(action) for action in asked], np.int64),
        np.array([row.scores[place] for row in rows], np.float64),
        column_of(row.concept for row in rows),
    )

"""Reading within a bound: every entry once and in order, as many together as is said, fewer where they are large."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ItemError
from moderation.item import ContentItem, Part
from moderation.source import together
from moderation.source.entry import Entry, failing
from moderation.source.together import read_together


def entries_of(sizes: Sequence[int | None]) -> list[Entry]:
    return [
        failing(f"{at}", ItemError("unreadable", "gone"))
        if size is None
        else Entry(f"{at}", partial(ContentItem, f"{at}", (Part.text("x" * size),)))
        for at, size in enumerate(sizes)
    ]


@given(sizes=st.lists(st.none() | st.integers(0, 12), max_size=30), most=st.integers(1, 6), bound=st.integers(1, 30))
def test_everything_comes_once_in_order_and_within_the_bounds(sizes: list[int | None], most: int, bound: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "BYTES", bound)
        groups = [[(entry.id, item) for entry, item in read] for read in read_together(entries_of(sizes), most)]
    assert [id_ for group in groups for id_, _ in group] == [f"{at}" for at in range(len(sizes))]
    for at, group in enumerate(groups):
        held = [sizes[int(id_)] or 0 for id_, _ in group]
        assert 1 <= len(group) <= most
        assert sum(held[:-1]) < bound  # the bound, and one item
        assert at == len(groups) - 1 or len(group) == most or sum(held) >= bound
    assert [isinstance(item, ItemError) for group in groups for _, item in group] == [one is None for one in sizes]

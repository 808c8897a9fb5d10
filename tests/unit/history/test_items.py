"""Columns of items: marks tell names apart, and what was seen is seen, however it comes in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moderation.history.items import UNKNOWN, Seen, column_of, marks_of

numbers = st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=12)


@given(numbers)
def test_the_first_of_each_mark_is_new_and_no_other(batches: list[list[int]]) -> None:
    seen, known = Seen(), set()
    for batch in batches:
        expected = []
        for one in batch:
            expected.append(one not in known)
            known.add(one)
        assert seen.first(np.array(batch, np.uint64)).tolist() == expected
    assert len(seen) == len(known)


def test_it_keeps_few_runs_of_marks() -> None:
    seen = Seen()
    for number in range(200):
        seen.first(np.arange(number * 10, number * 10 + 10).astype(np.uint64))
    assert len(seen) == 2000
    assert len(seen._runs) <= 12


@given(st.lists(st.text(max_size=20), unique=True, max_size=50))
def test_different_names_have_different_marks_and_the_same_one_always_the_same(names: list[str]) -> None:
    marks = marks_of(names)
    assert len(np.unique(marks)) == len(names)
    assert (marks_of(reversed(names))[::-1] == marks).all()


def test_a_column_names_what_it_holds() -> None:
    column = column_of(["b", None, "a", "b", ""])
    assert [None if code == UNKNOWN else column.names[code] for code in column.codes] == ["b", None, "a", "b", ""]

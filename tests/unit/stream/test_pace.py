"""The size of a batch follows what records take, never over what is allowed, and settles where the time is right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moderation.stream.pace import FIRST, GROWTH, Pace

SECONDS = st.floats(0, 100)


@given(st.floats(0.01, 10), st.integers(1, 5000), st.lists(st.tuples(st.integers(0, 5000), SECONDS), max_size=30))
def test_it_is_never_empty_and_never_over_the_largest(
    seconds: float, largest: int, took: list[tuple[int, float]]
) -> None:
    pace = Pace(seconds, largest)
    assert 1 <= pace.size <= min(largest, FIRST)
    for records, spent in took:
        before = pace.size
        pace.took(records, spent)
        assert 1 <= pace.size <= min(largest, GROWTH * before)


@given(st.floats(0.0001, 0.5), st.floats(0.05, 5))
def test_it_settles_where_a_batch_takes_what_it_may(each: float, seconds: float) -> None:
    pace = Pace(seconds, 1000)
    for _ in range(12):
        pace.took(pace.size, pace.size * each)
    wanted = min(1000, max(1, seconds / each))
    assert wanted - 1 <= pace.size <= wanted + 1e-9


def test_slower_records_are_believed_at_once_and_faster_ones_little_by_little() -> None:
    pace = Pace(1.0, 1000)
    for _ in range(12):
        pace.took(pace.size, 0.001 * pace.size)
    assert pace.size == 1000
    pace.took(1000, 100.0)
    assert pace.size == 10
    sizes = []
    for _ in range(4):
        pace.took(pace.size, 0.0)
        sizes.append(pace.size)
    assert sizes == [20, 40, 80, 160]


def test_what_is_waited_for_side_by_side_is_never_taken_one_by_one() -> None:
    pace = Pace(0.5, 500, least=8)
    pace.took(16, 6.0)  # one that hung
    assert pace.size == 8
    pace.took(8, 0.1)
    assert pace.size <= 16
    assert Pace(0.5, 4, least=8).size == 4

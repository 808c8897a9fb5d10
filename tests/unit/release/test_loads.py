"""Loads: who gets what, as one would count by hand, of what the policy judges; days in order; budgets held."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moderation.history.items import NO_DAY
from moderation.release.loads import LoadCounter, Loads
from tests.fakes import ACTIONS
from tests.unit.release.sides import BANDS, Row, items_of, sides_of

rows = st.lists(
    st.builds(
        Row,
        before=st.just("nothing"),
        concept=st.none(),
        after=st.sampled_from(BANDS),
        cluster=st.sampled_from(["", "one"]),
        day=st.sampled_from([NO_DAY, 20_000, 20_001, 20_003]),
        attributes=st.just({}),
        weight=st.just(np.nan),
        target=st.none(),
        scores=st.just((0.5, 0.5)),
    ),
    max_size=40,
)
FORCE = {"nothing": 0, "error": 3, **{name: place for place, name in enumerate(ACTIONS) if place}}


def loads(given_rows: list[Row], *, budget: float = 0.5, size: int = 7) -> Loads:
    counter = LoadCounter({"review": 0.5, "remove": None}, ACTIONS)
    for first in range(0, len(given_rows), size):
        part = given_rows[first : first + size]
        counter.add(items_of(part, first=first), sides_of(part)[1])
    return counter.result({"review": budget})


@given(rows)
def test_it_counts_what_one_would_count_by_hand(given_rows: list[Row]) -> None:
    found = loads(given_rows)
    inside = [row for row in given_rows if row.after != "out of scope"]
    assert found.judged == len(inside)
    assert found.undated == sum(row.day == NO_DAY for row in inside)
    for one in found.loads:
        place = ACTIONS.index(one.action)
        exactly = [row for row in inside if FORCE[row.after] == place]
        taken = sum(FORCE[row.after] >= place for row in inside)
        assert (one.items, one.errors) == (len(exactly), sum(row.after == "error" for row in exactly))
        assert (one.taken.hits, one.taken.trials) == (taken, len(inside))
        more = one.action == "review" and len(inside) > 0 and taken / len(inside) > 0.5
        assert (one.over or one.may_be_over) == more
        assert one.over == (one.budget is not None and one.taken.low > 0.5)
        dated = [sum(row.day == day for row in exactly) for day in sorted({row.day for row in inside} - {NO_DAY})]
        assert one.a_day == ((min(dated), sum(dated) / len(dated), max(dated)) if dated else None)
    assert [one.action for one in found.loads][:1] == ["remove"]
    assert {one.action for one in found.loads} >= {"remove", "review"}
    assert sum(day.items for day in found.days) == len(inside) - found.undated


def test_days_have_names_and_follow_each_other() -> None:
    found = loads([Row(after="review", day=day) for day in (20_003, 20_000, 20_003)])
    assert [(day.day, day.items, day.actions["review"]) for day in found.days] == [
        ("2024-10-04", 1, 1),
        ("2024-10-07", 2, 2),
    ]


def test_an_action_without_a_threshold_is_shown_and_a_budget_is_exceeded_above_it_only() -> None:
    rows = [Row(after="review"), Row(after="nothing")]
    remove, review = loads(rows, budget=0.5).loads
    assert (remove.threshold, remove.items, review.threshold) == (None, 0, 0.5)
    assert (review.over, review.may_be_over) == (False, False)
    seen = loads(rows, budget=0.49).loads[1]
    assert (seen.over, seen.may_be_over) == (False, True)
    sure = loads(rows * 100, budget=0.4).loads[1]
    assert (sure.over, sure.may_be_over) == (True, False)

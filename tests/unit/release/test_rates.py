"""Precision and recall of kept items: exact where everything was judged, unbiased and covering where a sample was, silent where nothing can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moderation.history.items import NO_DAY, UNKNOWN, Column, Items
from moderation.release.comparison import Side
from moderation.release.rates import NO_WEIGHT, NOT_IN_SCOPE, WRONG_WEIGHT, Rate, RateCounter, Rates
from tests.fakes import ACTIONS
from tests.unit.release.sides import BANDS, Row, items_of, sides_of

NAN = np.nan
FORCE = {"nothing": 0, "error": ACTIONS.index("review"), **{name: place for place, name in enumerate(ACTIONS) if place}}


def rates(rows: Sequence[Row], *, actions: Sequence[str] = ("review",), unjudged: int = 0) -> Rates:
    """The rates of the sides after; so many more items were left alone and not judged."""
    counter = RateCounter(ACTIONS)
    counter.add(items_of(rows), sides_of(rows)[1])
    by_force = np.bincount([FORCE[row.after] for row in rows if row.after in FORCE], minlength=len(ACTIONS))
    by_force[0] += unjudged
    return counter.result(actions, by_force)


def only(found: Rates) -> tuple[Rate, Rate]:
    (one,) = found.actions
    return one.precision, one.recall


def judged(after: str, target: bool, count: int, **known: Any) -> list[Row]:
    return [Row(after=after, target=target, **known)] * count


WHOLE = [
    *judged("review", True, 6),
    *judged("review", False, 2),
    *judged("nothing", True, 3),
    *judged("nothing", False, 20),
]


def exact(hits: int, trials: int) -> Any:
    return binomtest(hits, trials).proportion_ci(method="exact")


def test_where_everything_was_judged_rates_are_exact_ones_of_all_kept_items() -> None:
    found = rates(WHOLE)
    precision, recall = only(found)
    for rate, hits, trials in ((precision, 6, 8), (recall, 6, 9), (found.prevalence, 9, 31)):
        assert (rate.value, rate.hits, rate.judged, rate.basis, rate.why) == (hits / trials, hits, trials, "kept", "")
        assert (rate.low, rate.high) == pytest.approx((exact(hits, trials).low, exact(hits, trials).high))


def test_where_some_were_judged_and_nobody_says_how_they_were_drawn_rates_are_of_them_alone() -> None:
    for rate in only(rates(WHOLE, unjudged=1)):
        assert rate.basis == "judged"
    assert [rate.value for rate in only(rates(WHOLE, unjudged=1000))] == [rate.value for rate in only(rates(WHOLE))]


def test_a_stronger_action_counts_for_a_weaker_one() -> None:
    rows = [*judged("remove", True, 3), *judged("review", False, 1), *judged("nothing", True, 1)]
    strong, weak = rates(rows, actions=["review", "remove"]).actions
    assert (strong.action, weak.action) == ("remove", "review")
    assert (strong.precision.value, strong.recall.value) == (1.0, 0.75)
    assert (weak.precision.value, weak.recall.value) == (0.75, 0.75)


@pytest.mark.parametrize(
    ("rows", "unjudged", "precision", "recall"),
    [
        ([Row(), Row(after="review")], 0, "no judged item got it", "no judged item violates"),
        (judged("nothing", True, 3), 5, "no judged item got it", ""),
        (judged("review", False, 3) + judged("nothing", False, 3), 5, "", "no judged item violates"),
        (judged("review", True, 2) + judged("nothing", True, 2), 5, "every judged item violates", ""),
        (judged("review", True, 2) + judged("review", False, 2), 5, "", "nothing is known of what is missed"),
        (judged("review", True, 2, weight=1.0) + judged("review", False, 1, weight=1.0), 5, "", "nothing is known of what is missed"),
        # Judged flags stand for all flags, but what was left alone had no chance of being judged.
        ([*judged("review", True, 9, weight=1.0), *judged("nothing", True, 9, weight=1.0)], 5000, "", "were left alone stand for 9"),
        ([*judged("review", True, 9, weight=1.0), *[Row(after="review")] * 90, *judged("nothing", True, 9, weight=1.0)], 0, "got it stand for 9", "got it stand for 9"),
    ],
)  # fmt: skip
def test_what_cannot_be_estimated_is_said_with_the_reason(
    rows: list[Row], unjudged: int, precision: str, recall: str
) -> None:
    for rate, why in zip(only(rates(rows, unjudged=unjudged)), (precision, recall), strict=True):
        assert (rate.value is None) == bool(why)
        assert rate.why.startswith("not estimable: ") if why else rate.why == ""
        assert why in rate.why


def test_nobody_judged_anything() -> None:
    found = rates([])
    assert [rate.why for rate in (*only(found), found.prevalence)] == [
        "not estimable: no judged item got it",
        "not estimable: no judged item violates",
        "not estimable: no item is judged",
    ]


def test_targets_that_no_rate_rests_on_are_counted() -> None:
    rows = [
        *judged("review", True, 4, weight=2.0),
        *judged("nothing", False, 4, weight=2.0),
        *(Row(after="review", target=True, weight=weight) for weight in (0.0, -1.0, np.inf)),
        Row(after="error", target=True, weight=1.0),
        Row(after="out of scope", target=False, weight=1.0),
        Row(after="review", target=True),
        *[Row(after="review")] * 4,
        *[Row()] * 4,
    ]
    found = rates(rows)
    assert found.unrated == {WRONG_WEIGHT: 3, NOT_IN_SCOPE: 1, NO_WEIGHT: 1}
    assert only(found)[0].judged == 5  # what could not be judged got review, as `on_error` says


def test_a_violating_item_that_could_not_be_judged_is_missed_by_what_on_error_does_not_ask_for() -> None:
    rows = [*judged("remove", True, 6), *judged("error", True, 3), *judged("error", False, 1), *judged("nothing", False, 5)]  # fmt: skip
    removed, reviewed = rates(rows, actions=["remove", "review"]).actions
    assert (removed.recall.value, removed.recall.judged, removed.recall.basis) == (6 / 9, 9, "kept")
    assert removed.precision.value == 1.0
    assert (reviewed.recall.value, reviewed.precision.value) == (1.0, 0.9)
    silent = [*judged("remove", True, 1), *[Row(after="error", target=True)] * 3]
    counter = RateCounter(ACTIONS)
    side = sides_of(silent)[1]
    counter.add(items_of(silent), replace(side, force=np.where(side.band == BANDS.index("error"), 0, side.force)))
    (found,) = counter.result(["review"], np.array([3, 0, 0, 0, 1])).actions
    assert (found.recall.value, found.precision.value) == (0.25, 1.0)


def test_items_of_one_cluster_are_worth_less_than_as_many_of_their_own() -> None:
    apart = only(rates([*judged("review", True, 20), *judged("review", False, 20), *judged("nothing", False, 5)]))[0]
    rows = [Row(after="review", target=number < 20, cluster=f"c{number // 10}") for number in range(40)]
    together = only(rates([*rows, *judged("nothing", False, 5)]))[0]
    assert (together.value, together.clusters) == (apart.value, 4)
    assert together.low < apart.low < apart.high < together.high


def test_items_that_stand_for_different_numbers_are_worth_less_than_as_many_that_stand_for_equally_many() -> None:
    unseen = [*[Row(after="review")] * 40, *judged("nothing", False, 5, weight=1.0)]
    alike, unlike = (
        only(rates([*unseen, *(Row(after="review", target=t, weight=w) for t in (True, False) for w in weights)]))[0]
        for weights in ([3.0] * 10, [1.0, 5.0] * 5)
    )
    assert (alike.value, alike.effective) == (unlike.value, 20.0) == (0.5, 20.0)
    assert (alike.low, alike.high) == pytest.approx((exact(10, 20).low, exact(10, 20).high))
    assert unlike.effective < 20.0
    assert unlike.low < alike.low < alike.high < unlike.high


def test_where_all_that_violates_was_let_alone_recall_is_nothing() -> None:
    found = only(rates([*judged("review", False, 5, weight=1.0), *judged("nothing", True, 3, weight=1.0)]))[1]
    assert (found.value, found.low, found.judged, found.hits) == (0.0, 0.0, 3, 0)
    assert 0.3 < found.high < 1.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["nothing", "review"]), st.booleans(), st.sampled_from([1.0, 3.0, 20.0])),
        min_size=1,
        max_size=30,
    )
)
def test_an_interval_holds_its_rate_whatever_was_judged(rows: list[tuple[str, bool, float]]) -> None:
    found = rates([Row(after=after, target=target, weight=weight) for after, target, weight in rows])
    for rate in (*only(found), found.prevalence):
        if rate.value is not None:
            assert rate.low is not None
            assert rate.high is not None
            assert 0.0 <= rate.low <= rate.value + 1e-12 <= rate.high + 2e-12 <= 1.0 + 3e-12


Design = Callable[[np.ndarray, np.random.Generator], np.ndarray]
DESIGNS: dict[str, Design] = {
    "alike": lambda flagged, _rng: np.full(len(flagged), 0.1),
    "by what was flagged": lambda flagged, _rng: np.where(flagged, 0.5, 0.05),
    "all flags, few others": lambda flagged, _rng: np.where(flagged, 1.0, 0.02),
    "by something else too": lambda flagged, rng: np.where(flagged, 0.5, 0.1) * rng.choice([1.0, 0.2], len(flagged)),
}


def drawn(design: Design, rng: np.random.Generator, *, cluster: int) -> tuple[Rates, tuple[float, float, float]]:
    """A population of 20,000 in clusters of so many, a sample of it judged; the rates told, and the true ones."""
    count, flags = 20_000, 1_000
    flagged = np.arange(count) < flags
    units = np.arange(count) // cluster
    target = rng.random(count)[units * cluster] < np.where(flagged, 0.4, 0.01)
    chance = design(flagged, rng)
    rows = np.flatnonzero(rng.random(count) < chance)
    force = np.where(flagged[rows], ACTIONS.index("review"), 0)
    nothing = np.zeros(len(rows), np.int64)
    items = Items(
        rows.astype(object), rows.astype(np.uint64), units[rows].astype(np.uint64), {}, target[rows].astype(np.int8), 1.0 / chance[rows],
        nothing + NO_DAY,
    )  # fmt: skip
    counter = RateCounter(ACTIONS)
    counter.add(items, Side(force, force, nothing + 0.5, Column((), nothing + UNKNOWN)))
    by_force = np.array([count - flags, 0, 0, flags, 0])
    return counter.result(["review"], by_force), (
        target[:flags].mean(),
        target[:flags].sum() / target.sum(),
        target.mean(),
    )


@pytest.mark.parametrize("cluster", [1, 5])
@pytest.mark.parametrize("name", DESIGNS)
def test_weighted_rates_are_unbiased_and_their_intervals_cover(name: str, cluster: int) -> None:
    rng, runs = np.random.default_rng([cluster, *map(ord, name)]), 200
    covered, errors = np.zeros(3), np.zeros((runs, 3))
    for run in range(runs):
        found, truth = drawn(DESIGNS[name], rng, cluster=cluster)
        for place, rate in enumerate((*only(found), found.prevalence)):
            assert rate.value is not None, rate.why
            assert rate.low is not None
            assert rate.high is not None
            covered[place] += rate.low <= truth[place] <= rate.high
            errors[run, place] = rate.value - truth[place]
    for hits in covered:
        assert binomtest(int(hits), runs, 0.95, alternative="less").pvalue > 1e-4
    # Precision and the violating share are unbiased; recall is a ratio, and off by what its denominator varies.
    for place, slack in ((0, 0.0), (1, 0.02), (2, 0.0)):
        assert abs(errors[:, place].mean()) <= 1e-12 + slack + 4 * errors[:, place].std() / np.sqrt(runs)


def test_without_weights_the_same_sample_tells_too_high_a_recall() -> None:
    """Why the report says so: reviewers saw every flag and one in fifty others."""
    rng = np.random.default_rng(0)
    found, (_, truth, _) = drawn(DESIGNS["all flags, few others"], rng, cluster=1)
    recall = only(found)[1]
    assert recall.judged
    naive = recall.hits / recall.judged
    assert naive > truth + 0.2

"""Which level is built: what a fold may know, which pull is taken, and that a cluster counts once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from moderation.compiler.levels import (
    DEALS,
    FOLDS,
    Measured,
    average_precision,
    choose_level,
    honest,
    measure,
    plainest,
    split,
)
from moderation.compiler.probe import PULLS, fit_probe
from tests.unit.compiler.objects import head, objects, with_copies

LEARNABLE = objects(np.random.default_rng(0), text=0.5, learned=2.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the compiler runs it: on several, small problems wait for busy cores."""
    with threadpool_limits(1):
        yield


def measured(*folds: float) -> Measured:
    return Measured(float(np.mean(folds)), 0.0, folds)


def test_a_pull_that_shone_in_one_fold_is_not_measured_there() -> None:
    lucky, steady = measured(1.0, 0.5, 0.5, 0.5, 0.5), measured(0.5, 0.6, 0.5, 0.5, 0.5)
    found = honest({10.0: lucky, 0.0: steady})
    # Judged in the first fold, the other folds speak for the steady one; in each other fold the first speaks for the lucky.
    assert found.folds == (0.5, 0.5, 0.5, 0.5, 0.5)
    assert found.mean < lucky.mean


def test_a_deals_pull_is_chosen_on_that_deals_folds_alone() -> None:
    # Another deal's other folds hold the clusters that judge in this one.
    first, second = measured(0.9, *[0.5] * 4, *[1.0] * 5), measured(0.8, *[0.6] * 4, *[0.0] * 5)
    assert honest({10.0: first, 0.0: second}).folds == (0.8, *[0.6] * 4, *[1.0] * 5)


def test_what_l3_measures_is_less_than_its_luckiest_pull() -> None:
    noise = objects(np.random.default_rng(3), text=0.0, learned=0.0)
    told = choose_level([head()], noise, seed=0).measured["L3"]
    folds = split(noise, seed=0)
    pulls = [measure(lambda train, pull=pull: fit_probe(head(), train, pull), noise, folds) for pull in PULLS]  # type: ignore[misc]
    assert told.mean < max(one.mean for one in pulls) - 0.01


def test_the_plainest_that_is_as_good_as_the_best_is_taken() -> None:
    best, close, worse = measured(0.9, 0.8, 0.9, 0.8, 0.9), measured(0.8, 0.9, 0.8, 0.9, 0.8), measured(*[0.5] * 5)
    assert plainest({30.0: close, 10.0: worse, 0.0: best}) == 30.0
    assert plainest({30.0: worse, 10.0: close, 0.0: best}) == 10.0
    assert plainest({30.0: worse, 10.0: worse, 0.0: best}) == 0.0


def test_the_head_that_is_chosen_has_the_pull_that_is_told() -> None:
    choice = choose_level([head()], LEARNABLE, seed=0)
    assert choice.head.level == "L3"
    assert choice.pull is not None
    np.testing.assert_array_equal(choice.head.probe, fit_probe(head(), LEARNABLE, choice.pull).probe)


def test_every_deal_is_another_and_holds_out_every_cluster_once() -> None:
    deals = np.array([[row in test for row in range(len(LEARNABLE))] for _, test in split(LEARNABLE, seed=0)])
    deals = deals.reshape(DEALS, FOLDS, -1)
    assert (deals.sum(axis=1) == 1).all()
    assert len({deal.tobytes() for deal in deals}) == DEALS


def test_a_cluster_weighs_once_in_average_precision_however_many_pictures_it_has() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=24)[LEARNABLE.clusters] + LEARNABLE.violating  # copies of a cluster have its score
    plain = average_precision(scores, LEARNABLE)
    for cluster in (0, 20):
        copied = with_copies(LEARNABLE, cluster)
        again = np.repeat(scores, np.where(LEARNABLE.clusters == cluster, 10, 1))
        assert average_precision(again, copied) == pytest.approx(plain)


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 40))
def test_average_precision_is_scikit_learns(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=48) * steps) / steps  # many of them alike, or few
    on = LEARNABLE.take(np.sort(rng.permutation(48)[: 2 + seed % 40]))
    assume(on.violating.any())
    expected = average_precision_score(on.violating, scores[: len(on)], sample_weight=on.by_cluster)
    assert average_precision(scores[: len(on)], on) == pytest.approx(expected, abs=1e-12)


def test_average_precision_stands_at_the_share_of_violating_clusters() -> None:
    assert average_precision(np.zeros(48), LEARNABLE) == pytest.approx(0.5)
    fewer = LEARNABLE.take(np.flatnonzero(LEARNABLE.clusters >= 9))  # 3 violating clusters beside 12 benign
    assert average_precision(np.zeros(30), fewer) == pytest.approx(0.2)


def test_an_object_shown_ten_times_as_often_changes_no_choice() -> None:
    once, often = (choose_level([head()], fit, seed=0) for fit in (LEARNABLE, with_copies(LEARNABLE, 3)))
    assert (often.head.level, often.pull, often.reason) == (once.head.level, once.pull, once.reason)
    for level, one in once.measured.items():
        assert often.measured[level].folds == pytest.approx(one.folds)


def test_targets_that_cannot_tell_the_levels_apart_leave_the_one_without_targets() -> None:
    told = objects(np.random.default_rng(1), text=6.0, learned=0.0)
    alike = [head(), replace(head(), level="L1")]
    choice = choose_level(alike, told, seed=0)
    assert choice.measured["L0"].folds == choice.measured["L1"].folds
    assert (choice.head.level, choice.pull) == ("L1", None)
    # One that is worse is left only for one that is better by a standard error.
    assert choose_level([head(), replace(head(5), level="L1")], told, seed=0).head.level in {"L0", "L3"}
    assert choose_level([head(5), replace(head(), level="L1")], told, seed=0).head.level == "L1"

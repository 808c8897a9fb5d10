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

from moderation.compiler import levels
from moderation.compiler.bottleneck import PENALTIES, fit_bottlenecks
from moderation.compiler.levels import (
    DEALS,
    EXPLAINED_CLUSTERS,
    FOLDS,
    Choice,
    Measured,
    Rung,
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


def rung(level: str, measured: Measured) -> Rung:
    return Rung(level, measured, lambda: replace(head(), level="L1"))  # type: ignore[arg-type]


ENOUGH = objects(np.random.default_rng(5), text=2.0, learned=2.0, count=EXPLAINED_CLUSTERS)


def chosen_beside(
    monkeypatch: pytest.MonkeyPatch, gained: float, spread: float, *, explainable: bool = False
) -> tuple[Choice, Measured]:
    """The choice where L5 measures so much more than the best of the others, in folds so far apart."""
    best = choose_level([head()], ENOUGH, seed=0)
    others = best.measured[best.head.level]
    moved = np.array(others.folds) + gained + spread * np.where(np.arange(len(others.folds)) % 2, 1.0, -1.0)
    five = Measured(float(moved.mean()), 0.0, tuple(moved.tolist()))
    monkeypatch.setattr(levels, "explaining", lambda *_: rung("L5", five))
    return choose_level([head()], ENOUGH, seed=0, explainable=explainable), others


@pytest.mark.parametrize(
    ("gained", "taken"),
    [(-0.05, False), (0.0, False), (0.04, False), (0.05, True)],
    ids=["worse", "same", "near", "beats"],
)
def test_l5_is_taken_only_where_it_beats_the_best_of_the_others_by_a_standard_error(
    gained: float, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Differences of gained ± 0.1 over the folds: their standard error, of one deal's five folds, is 0.046.
    choice, _ = chosen_beside(monkeypatch, gained, 0.1)
    assert choice.reason.startswith("L5 beats") is taken
    assert choice.instead_of is None
    assert "L5" in choice.measured


def test_l5_that_is_asked_for_is_built_and_what_would_have_been_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    choice, others = chosen_beside(monkeypatch, -0.05, 0.0, explainable=True)
    assert choice.instead_of is not None
    assert choice.measured[choice.instead_of].folds == others.folds
    assert choice.reason.startswith(f"L5 is asked for (explainable); {choice.instead_of} beats")
    cost, error = choice.measured[choice.instead_of].over(choice.measured["L5"])
    assert (cost, error) == (pytest.approx(0.05), pytest.approx(0.0, abs=1e-9))


def test_l5_that_wins_by_itself_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    choice, _ = chosen_beside(monkeypatch, 0.2, 0.0, explainable=True)
    assert choice.instead_of is None
    assert choice.reason.startswith("L5 beats")


@pytest.mark.parametrize(
    ("arms", "others", "told"),
    [
        (
            29,
            40,
            "1 more violating clusters of fit targets are needed (found 29 violating and 40 benign; expected 30 of each)",
        ),
        (29, 20, "1 more violating and 10 more benign clusters"),
        (0, 0, "30 more violating and 30 more benign clusters"),
    ],
)
def test_too_few_clusters_for_l5_are_counted_by_class(arms: int, others: int, told: str) -> None:
    wide = objects(np.random.default_rng(6), text=2.0, learned=0.0, count=40)
    fit = wide.take(np.flatnonzero((wide.clusters < arms) | ((wide.clusters >= 40) & (wide.clusters < 40 + others))))
    choice = choose_level([head()], fit if len(fit) else None, seed=0, explainable=True)
    assert told in choice.missing["L5"]
    assert choice.head.level != "L5"
    assert "L5" not in choice.measured


def test_enough_clusters_measure_l5_and_the_head_has_the_penalty_that_is_told() -> None:
    choice = choose_level([head()], ENOUGH, seed=0, explainable=True)
    assert (choice.head.level, dict(choice.missing)) == ("L5", {})
    assert choice.penalty is not None
    np.testing.assert_array_equal(
        choice.head.weights, fit_bottlenecks(head(), ENOUGH, PENALTIES)[PENALTIES.index(choice.penalty)].weights
    )
    assert choice.head.weights[0] > 0  # type: ignore[index]


def test_exemplars_that_l3_and_l5_do_not_beat_are_kept_and_the_reason_says_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low, high = measured(*[0.5] * 5), measured(*[0.9] * 5)
    monkeypatch.setattr(levels, "_remembering", lambda *_: rung("L2", high))
    monkeypatch.setattr(levels, "_probing", lambda *_: rung("L3", low))
    monkeypatch.setattr(levels, "explaining", lambda *_: rung("L5", low))
    monkeypatch.setattr(levels, "_plain", lambda one, *_: rung(one.level, low))
    choice = choose_level([head()], ENOUGH, seed=0, exemplars=ENOUGH)
    assert choice.reason == "L2 beats L0 by more than one standard error, and L3 and L5 do not beat L2"

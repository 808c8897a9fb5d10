"""Calibrations: near the truth at the prevalence they are made for, chosen by size, measured on what they have not seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from moderation.compiler.calibrate import calibrate, method_for, reliability
from moderation.compiler.certify import Sides
from moderation.policy.calibration import Method

PREVALENCE: Any = SimpleNamespace(low=0.04, high=0.06)
METHODS: tuple[Method, ...] = ("sigmoid", "beta", "isotonic")


def squash(raw: np.ndarray) -> np.ndarray:
    scores: np.ndarray = np.round(1.0 / (1.0 + np.exp(-raw)), 6)
    return scores


def sides(seed: int, violating: int, benign: int, *, spread: float = 1.0, shift: float = -1.0) -> Sides:
    rng = np.random.default_rng(seed)
    found = [np.sort(squash(raw + shift)) for raw in (rng.normal(2.0, spread, violating), rng.normal(0.0, 1.0, benign))]
    return Sides(*found, *found)


def truth(score: float, *, spread: float = 1.0, shift: float = -1.0, prevalence: float = 0.05) -> float:
    raw = np.log(score / (1.0 - score)) - shift
    hit, false = prevalence * norm.pdf(raw, 2.0, spread), (1.0 - prevalence) * norm.pdf(raw)
    return float(hit / (hit + false))


@pytest.mark.parametrize(
    ("clusters", "method"),
    [(0, None), (49, None), (50, "sigmoid"), (199, "sigmoid"), (200, "beta"), (999, "beta"), (1000, "isotonic")],
)
def test_the_method_follows_from_the_size_of_the_smaller_class(clusters: int, method: str | None) -> None:
    assert method_for(clusters) == method


@pytest.mark.parametrize("shift", [-3.0, -1.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_near_the_truth_wherever_the_score_is_even(method: Method, shift: float) -> None:
    found = calibrate(sides(1, 1500, 6000, shift=shift), PREVALENCE, method=method).calibration
    assert found is not None
    for raw in (0.0, 1.0, 2.0, 2.5):
        score = float(squash(np.array(raw + shift)))
        assert found.probability(score) == pytest.approx(truth(score, shift=shift), abs=0.06)


def test_a_temperature_is_right_only_where_the_score_is_even_at_one_half() -> None:
    fair, skewed = (
        calibrate(sides(1, 500, 2000, shift=shift), PREVALENCE, method="temperature").reliability
        for shift in (-1.0, -3.0)
    )
    assert fair is not None
    assert skewed is not None
    assert fair.expected_error < 0.01
    assert skewed.expected_error > 0.03


def test_beta_bends_where_a_sigmoid_cannot() -> None:
    wide = sides(2, 900, 4000, spread=1.8)
    losses = [calibrate(wide, PREVALENCE, method=method).reliability for method in ("sigmoid", "beta")]
    assert losses[0] is not None
    assert losses[1] is not None
    assert losses[1].log_loss < losses[0].log_loss


@pytest.mark.parametrize("method", METHODS)
def test_all_told_together_is_the_prevalence_in_the_middle_of_the_interval(method: Method) -> None:
    found = calibrate(sides(3, 300, 1200), PREVALENCE, method=method)
    assert found.prevalence == pytest.approx(0.05)
    assert found.reliability is not None
    assert abs(found.reliability.gap) < 0.005
    assert found.reliability.log_loss < 0.8 * found.reliability.log_loss_of_prevalence


def test_targets_that_are_told_apart_without_error_stay_below_certainty() -> None:
    apart = np.linspace(0.9, 1.0, 60), np.linspace(0.0, 0.1, 60)
    for method in METHODS:
        found = calibrate(Sides(*apart, *apart), PREVALENCE, method=method).calibration
        assert found is not None
        assert found.probability(0.0) < 0.05
        assert 0.5 < found.probability(0.95) < 0.9995
        assert found.curve is None or max(found.curve[:2]) < 10.0


def test_a_score_that_means_the_opposite_is_told_as_nearly_flat_and_never_falls() -> None:
    wrong = np.linspace(0.0, 0.5, 300), np.linspace(0.4, 1.0, 300)
    for method in METHODS:
        found = calibrate(Sides(*wrong, *wrong), PREVALENCE, method=method).calibration
        assert found is not None
        low, high = found.probability(0.0), found.probability(1.0)
        assert low < high
        assert high - low < 0.03


def test_one_score_for_everything_tells_the_prevalence() -> None:
    same = np.full(60, 0.5)
    for method in METHODS:
        found = calibrate(Sides(same, same, same, same), PREVALENCE, method=method).calibration
        assert found is not None
        assert found.probability(0.5) == pytest.approx(0.05, abs=0.002)


def test_too_few_targets_are_told_and_nothing_is_made_up() -> None:
    found = calibrate(sides(0, 49, 4000), PREVALENCE)
    assert found.calibration is None
    assert found.reliability is None
    assert found.reason == "49 clusters of the smaller class; a probability needs at least 50"
    everything: Any = SimpleNamespace(low=1.0, high=1.0)
    assert calibrate(sides(0, 60, 60), everything).calibration is None


def test_the_same_targets_make_the_same_numbers() -> None:
    assert calibrate(sides(5, 120, 500), PREVALENCE) == calibrate(sides(5, 120, 500), PREVALENCE)


def test_reliability_counts_what_is_told_too_high_as_positive() -> None:
    targets, weights = np.array([0.0, 0.0, 0.0, 1.0]), np.full(4, 0.25)
    high = reliability(np.full(4, 0.45), targets, weights)
    assert (high.gap, high.expected_error) == (pytest.approx(0.2), pytest.approx(0.2))
    exact = reliability(targets, targets, weights)
    assert exact.log_loss == pytest.approx(0.0, abs=1e-9)
    assert exact.expected_error == pytest.approx(0.0, abs=1e-9)

"""The choice of a level and the probe, rule by rule, on examples small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from moderation.compiler.heads import plain_head
from moderation.compiler.levels import (
    FOLDS,
    Measured,
    _honest,
    _measure_pulls,
    average_precision,
    choose_level,
    split,
    strongest_pull,
)
from moderation.compiler.probe import PULLS, Targets, fit_probe, targets
from moderation.detector.head import Head

WIDTH = 12


def unit(raw: np.ndarray) -> np.ndarray:
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)


def text_head() -> Head:
    """A margin along the first axis."""
    axes = np.eye(WIDTH, dtype=np.float32)
    return plain_head(axes[:1], -axes[:1])


def fit_set(*, along: float, hidden: float, copies: int = 1, seed: int = 0) -> Targets:
    """Thirty violating and sixty benign objects, apart by `along` on the text's axis and by `hidden` on another.

    The first object of each class has `copies` pictures.
    """
    rng = np.random.default_rng(seed)
    violating = np.arange(90) < 30
    raw = 0.5 * rng.normal(size=(90, WIDTH)) + np.where(violating, 1.0, -1.0)[:, None] * (
        along * np.eye(WIDTH)[0] + hidden * np.eye(WIDTH)[1]
    )
    rows = np.repeat(np.arange(90), np.where(np.isin(np.arange(90), (0, 30)), copies, 1))
    return targets(unit(raw)[rows], violating[rows], rows.astype(np.int64))


def measured(*folds: float) -> Measured:
    return Measured(float(np.mean(folds)), 0.0, folds)


def test_a_cluster_weighs_the_same_in_average_precision_however_many_pictures_it_has() -> None:
    one, many = fit_set(along=0.3, hidden=0.0), fit_set(along=0.3, hidden=0.0, copies=10)
    scores = [average_precision(text_head().raw(fit.vectors), fit) for fit in (one, many)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)
    plain = average_precision_score(one.violating, text_head().raw(one.vectors))
    assert scores[0] == pytest.approx(plain, abs=1e-12)  # at the share of violating clusters, not at one half


@pytest.mark.parametrize("pull", [PULLS[0], 0.0])
def test_a_cluster_weighs_the_same_in_the_probe_however_many_pictures_it_has(pull: float) -> None:
    one, many = fit_set(along=0.3, hidden=0.3), fit_set(along=0.3, hidden=0.3, copies=50)
    heads = [fit_probe(text_head(), fit, pull) for fit in (one, many)]
    raws = [head.raw(one.vectors) / head.scale for head in heads]
    # The margin is centred and the span scaled by rows, which moves the penalty a little, but nothing like fifty pictures would.
    assert np.corrcoef(*raws)[0, 1] > 0.999
    unweighed = targets(many.vectors, many.violating, np.arange(len(many)))
    pulled_by_copies = fit_probe(text_head(), unweighed, pull)
    assert np.corrcoef(raws[0], pulled_by_copies.raw(one.vectors))[0, 1] < 0.999


def test_the_stronger_the_pull_the_nearer_the_probe_stays_to_the_text() -> None:
    fit = fit_set(along=0.2, hidden=0.6)
    margin = text_head().raw(fit.vectors)
    shares = []
    for pull in (1e6, 30.0, 3.0, 1.0):
        head = fit_probe(text_head(), fit, pull)
        assert head.anchor is not None
        assert head.probe is not None
        left = fit.vectors.astype(np.float64) @ head.probe
        shares.append(left.std() / (head.anchor[0] * margin.std()))
    assert shares == sorted(shares)
    assert shares[0] < 1e-3
    assert shares[-1] > 0.1


def test_targets_may_mute_the_text_but_not_turn_it_round() -> None:
    against = fit_set(along=-0.5, hidden=0.0)
    for pull in PULLS[:-1]:
        anchor = fit_probe(text_head(), against, pull).anchor
        assert anchor is not None
        assert anchor[0] == 0.0


def test_without_any_pull_the_text_counts_for_nothing() -> None:
    anchor = fit_probe(text_head(), fit_set(along=0.5, hidden=0.0), 0.0).anchor
    assert anchor is not None
    assert anchor[0] == 0.0


def test_a_pull_is_chosen_on_the_other_folds_of_its_deal_and_never_on_what_judges_it() -> None:
    steady, lucky = measured(*[0.55] * FOLDS), measured(1.0, 1.0, 1.0, 0.0, 0.0)
    assert lucky.mean > steady.mean  # the best in hindsight
    # Without its own fold, `lucky` has 2.0 of four where it was lucky (steady: 2.2), and 3.0 where it was not.
    assert _honest({30.0: steady, 1.0: lucky}).folds == pytest.approx((0.55, 0.55, 0.55, 0.0, 0.0))
    # A second deal decides for itself.
    twice = {30.0: measured(*[0.55] * FOLDS, *[0.0] * FOLDS), 1.0: measured(*lucky.folds, *[0.9] * FOLDS)}
    assert _honest(twice).folds == pytest.approx((0.55, 0.55, 0.55, 0.0, 0.0, *[0.9] * FOLDS))


def test_the_strongest_pull_within_a_standard_error_of_the_best_is_taken() -> None:
    best = measured(0.9, 0.8, 0.9, 0.8, 0.9)
    near = measured(0.7, 0.9, 0.9, 0.9, 0.8)  # behind by 0.02 ± 0.07
    far = measured(*(fold - 0.1 for fold in best.folds))
    assert strongest_pull({30.0: far, 10.0: near, 3.0: best, 1.0: best}) == 10.0
    assert strongest_pull({30.0: far, 10.0: far, 3.0: best}) == 3.0


def test_what_is_measured_of_the_probe_is_not_the_best_of_its_pulls() -> None:
    noise = fit_set(along=0.0, hidden=0.0, seed=3)
    measured_probe = choose_level([text_head()], noise, seed=0).measured["L3"]
    by_pull = _measure_pulls(text_head(), noise, split(noise, seed=0))
    assert measured_probe == _honest(by_pull)
    assert measured_probe.mean < max(one.mean for one in by_pull.values())

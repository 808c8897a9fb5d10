"""The bottleneck: signs are the author's, weights the targets', most phrases are left out, and the one that matters is found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from moderation.compiler.bottleneck import PENALTIES, fit_bottleneck, fit_bottlenecks, speaks
from moderation.compiler.heads import Bank, contrast_head, normalised_head
from moderation.compiler.levels import average_precision, explaining, measure, split
from moderation.compiler.phrases import PhraseVectors
from moderation.compiler.probe import Targets, targets
from moderation.detector.head import Head
from tests.unit.compiler.objects import with_copies

WIDTH = 24
# What share of data sets without any signal may get L5 rather than the words alone, by the rule of one standard error.
NOISE = 0.3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the compiler runs it."""
    with threadpool_limits(1):
        yield


def words(violating: int, contrast: int, *, bank: bool = True) -> Head:
    """L1, or L0 without a bank: phrase k lies along axis k."""
    axes = np.eye(WIDTH, dtype=np.float32)[: violating + contrast]
    phrases = PhraseVectors(
        tuple(f"phrase {at}" for at in range(violating)), axes[:violating], axes[violating:], axes.astype(np.float16)
    )
    if not bank:
        return contrast_head(phrases)
    return normalised_head(phrases, Bank(unit(np.random.default_rng(99), 300), np.empty((0, WIDTH), np.float16), 0))


def unit(rng: np.random.Generator, rows: int, shown: np.ndarray | float = 0.0) -> np.ndarray:
    """Vectors in all directions, with what is `shown` [rows, d] in each."""
    raw = rng.normal(size=(rows, WIDTH)) + shown
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16)


def objects(seed: int, shown: dict[int, tuple[float, float]], count: int = 40) -> Targets:
    """`count` objects of each class, two pictures each; along the axis of a phrase, how much of it each class shows: violating, benign."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(2 * count), 2)
    violating = clusters < count
    along = np.zeros((len(clusters), WIDTH))
    for axis, (one, other) in shown.items():
        along[:, axis] = np.where(violating, one, other)
    return targets(unit(rng, len(clusters), along), violating, clusters)


PLANTED = objects(0, {1: (2.5, 0.0), 4: (0.0, 2.5)})  # the second violating phrase, and the second contrast phrase


@given(
    seed=st.integers(0, 10_000),
    violating=st.integers(1, 6),
    contrast=st.integers(1, 6),
    bank=st.booleans(),
    shown=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@settings(max_examples=30)
def test_a_violating_phrase_never_lowers_a_score_and_a_contrast_phrase_never_raises_one(
    seed: int, violating: int, contrast: int, bank: bool, shown: tuple[float, float]
) -> None:
    fit = objects(seed, {0: (shown[0], 0.0), violating: (shown[1], 0.0)}, count=10)
    anything = unit(np.random.default_rng(seed), 40)
    for head in fit_bottlenecks(words(violating, contrast, bank=bank), fit, PENALTIES):
        assert head.weights is not None
        assert (head.weights >= 0).all()
        shown = head.contributions(anything)
        assert (shown[:, :violating] >= 0).all()
        assert (shown[:, violating:] <= 0).all()
        np.testing.assert_allclose(head.raw(anything), head.bias + shown.sum(axis=1), atol=1e-5)


@given(seed=st.integers(0, 10_000), at=st.integers(0, 5), direction=st.sampled_from([1.0, -1.0]))
@settings(max_examples=30)
def test_no_other_weights_cost_less(seed: int, at: int, direction: float) -> None:
    fit = objects(seed, {0: (1.5, 0.0), 4: (0.0, 1.0)}, count=15)
    base = words(3, 3)
    for penalty in PENALTIES:
        head = fit_bottleneck(base, fit, penalty)
        assert head.weights is not None
        moved = np.maximum(head.weights + direction * 0.02 * np.eye(6)[at], 0.0)
        assert cost(head, head.weights, head.bias, fit, penalty) <= cost(head, moved, head.bias, fit, penalty) + 1e-6
        assert cost(head, head.weights, head.bias, fit, penalty) <= cost(
            head, head.weights, head.bias + 0.02, fit, penalty
        )


def cost(head: Head, weights: np.ndarray, bias: float, fit: Targets, penalty: float) -> float:
    """What is minimised, written out anew from the phrases themselves."""
    phrases = np.concatenate([head.violating, head.contrast]).astype(np.float64)
    seen = head.sharpness * head.gain * (fit.vectors.astype(np.float64) @ phrases.T - head.offset)
    shown = np.log1p(np.exp(seen)) / head.sharpness * np.repeat([1.0, -1.0], [len(head.violating), len(head.contrast)])
    sign, each = np.where(fit.violating, 1.0, -1.0), fit.weights / fit.weights.sum()
    least = (shown.T @ (each * sign)).max() / 2
    return float(each @ np.log1p(np.exp(-sign * (shown @ weights + bias))) + penalty * least * weights.sum())


def test_the_phrases_that_matter_are_found_and_the_strongest_penalties_leave_the_others_out() -> None:
    heads = fit_bottlenecks(words(3, 3), PLANTED, PENALTIES)
    counted = [np.flatnonzero(head.weights).tolist() for head in heads]
    assert set(counted[1]) == {1, 4}
    assert len(counted[0]) <= len(counted[1]) <= len(counted[-1])
    others = objects(1, {1: (2.5, 0.0), 4: (0.0, 2.5)})
    assert average_precision(heads[1].raw(others.vectors), others) > average_precision(
        words(3, 3).raw(others.vectors), others
    )


def test_at_the_penalty_that_is_one_nothing_counts_and_just_below_it_something_does() -> None:
    empty, first = fit_bottlenecks(words(3, 3), PLANTED, [1.0, 0.95])
    assert not np.asarray(empty.weights).any()
    assert np.count_nonzero(first.weights) == 1
    assert not speaks(empty)


def test_the_phrase_that_is_named_is_the_one_that_raised_the_score_most_not_the_nearest() -> None:
    head = fit_bottleneck(words(3, 3), PLANTED, PENALTIES[1])
    both = np.zeros((1, WIDTH), np.float16)
    both[0, [0, 1]] = 0.8, 0.6
    assert words(3, 3).score(both).nearest[0] == 0
    assert head.score(both).nearest[0] == 1


def test_phrases_that_speak_the_wrong_way_are_silent() -> None:
    head = fit_bottleneck(words(1, 1), objects(2, {0: (0.0, 3.0), 1: (3.0, 0.0)}), 0.01)
    assert not np.asarray(head.weights).any()
    assert not speaks(head)
    fit = objects(2, {0: (0.0, 3.0), 1: (0.0, 3.0)})
    (lowers,) = fit_bottlenecks(words(1, 1), fit, [0.01])
    assert np.flatnonzero(lowers.weights).tolist() == [1]
    assert not speaks(lowers)
    assert explaining(words(1, 1), fit, split(fit, seed=0)) is None


def test_without_a_bank_phrases_are_held_against_the_benign_targets() -> None:
    head = fit_bottleneck(words(3, 3, bank=False), PLANTED, 0.1)
    benign = PLANTED.vectors[~PLANTED.violating].astype(np.float64)
    phrases = np.concatenate([head.violating, head.contrast])
    np.testing.assert_allclose(
        head.offset, (benign @ phrases.T).mean(axis=0), atol=1e-6
    )  # objects of two pictures each
    assert not np.allclose(head.offset, fit_bottleneck(words(3, 3), PLANTED, 0.1).offset, atol=1e-3)


@pytest.mark.parametrize("bank", [True, False])
@pytest.mark.parametrize("cluster", [0, 60], ids=["violating", "benign"])
def test_an_object_shown_ten_times_as_often_changes_nothing(cluster: int, bank: bool) -> None:
    anything = unit(np.random.default_rng(5), 50)
    once, often = (
        fit_bottleneck(words(3, 3, bank=bank), fit, 0.06).raw(anything)
        for fit in (PLANTED, with_copies(PLANTED, cluster))
    )
    np.testing.assert_allclose(often, once, atol=1e-3)


def test_the_same_targets_give_the_same_bits() -> None:
    first, second = (fit_bottleneck(words(3, 3), PLANTED, 0.06) for _ in range(2))
    assert np.asarray(first.weights).tobytes() == np.asarray(second.weights).tobytes()
    assert first.bias == second.bias


def test_a_bottleneck_goes_through_its_arrays() -> None:
    head = fit_bottleneck(words(3, 3), PLANTED, 0.06)
    again = Head.from_arrays("L5", head.to_arrays())
    for name, array in head.to_arrays().items():
        np.testing.assert_array_equal(again.to_arrays()[name], array)
    np.testing.assert_array_equal(again.score(PLANTED.vectors).values, head.score(PLANTED.vectors).values)


def test_few_scores_lie_where_rounding_would_merge_them() -> None:
    easy = objects(3, {0: (40.0, 0.0)})
    head = fit_bottleneck(words(1, 1), easy, 0.001)
    assert np.abs(head.raw(easy.vectors)).max() > 12.0
    assert 0.002 < head.score(easy.vectors).values.min() < head.score(easy.vectors).values.max() < 0.998


def test_noise_seldom_looks_better_than_the_words() -> None:
    taken, runs = 0, 25
    for seed in range(runs):
        noise = objects(1000 + seed, {}, count=30)
        text, folds = words(6, 6), split(noise, seed=seed)
        rung = explaining(text, noise, folds)
        taken += rung is not None and rung.measured.beats(measure(lambda _: text, noise, folds))  # noqa: B023
    print(f"L5 beat the words in {taken} of {runs} data sets of noise")
    assert binomtest(taken, runs, NOISE, alternative="greater").pvalue > 0.001

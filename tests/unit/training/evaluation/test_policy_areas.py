"""The measures against what can be counted by hand."""

from __future__ import annotations

import math

import numpy as np

from moderation.training.evaluation.policy import CONTRAST_TEMPERATURE, auc, policy_scores, recall_at


def test_auc_counts_pairs_with_ties_as_half() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    positive = np.array([True, True, False, False])
    found = auc(scores, positive, ["a", "b", "c", "d"])
    assert found.value == (1 + 1 + 0.5 + 1) / 4
    assert found.low <= found.value <= found.high
    assert (found.positives, found.negatives) == (2, 2)


def test_auc_counts_objects_not_pictures() -> None:
    scores = np.array([0.9, 0.8, 0.1, 0.2, 0.3])
    found = auc(scores, np.array([True, True, False, False, False]), ["a", "a", "c", "c", "d"])
    assert (found.positives, found.negatives) == (1, 2)
    assert found.value == 1.0
    assert (found.low, found.high) == (0.0, 1.0)


def test_pictures_of_the_same_objects_narrow_the_interval_less_than_other_objects() -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(1, 1, 20), rng.normal(0, 1, 50)])
    positive = np.arange(70) < 20
    apart = auc(scores, positive, [f"o{i}" for i in range(70)])
    repeated = auc(np.tile(scores, 4), np.tile(positive, 4), [f"o{i}" for i in range(70)] * 4)
    others = auc(np.tile(scores, 4), np.tile(positive, 4), [f"o{i}" for i in range(280)])
    assert abs((repeated.high - repeated.low) - (apart.high - apart.low)) < 1e-9
    assert others.high - others.low < 0.6 * (apart.high - apart.low)
    assert apart.low < apart.value < apart.high


def test_a_perfect_auc_of_few_objects_is_not_certain() -> None:
    few = auc(np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3]), np.arange(6) < 3, list("abcdef"))
    many = auc(np.r_[np.ones(100), np.zeros(100)], np.arange(200) < 100, [str(i) for i in range(200)])
    assert (few.value, few.high) == (many.value, many.high) == (1.0, 1.0)
    assert few.low < 0.35
    assert 0.95 < many.low < 0.97


def test_auc_without_one_side_is_not_a_number() -> None:
    assert math.isnan(auc(np.array([0.1]), np.array([False]), ["a"]).value)


def test_a_policy_score_is_the_best_phrase_less_a_soft_maximum_of_contrast() -> None:
    images, violating = np.eye(3, dtype=np.float32)[:1], np.array([[0.6, 0.8, 0.0], [0.2, 0.0, 0.98]])
    contrast = np.array([[0.5, 0.0, 0.87], [0.1, 0.99, 0.0]])
    t = CONTRAST_TEMPERATURE
    expected = 0.6 - t * math.log((math.exp(0.5 / t) + math.exp(0.1 / t)) / 2)
    assert abs(policy_scores(images, violating, contrast)[0] - expected) < 1e-9


def test_recall_at_k() -> None:
    candidates = np.eye(3)
    queries = np.array([[1.0, 0.5, 0.0], [0.1, 0.2, 0.9]])
    assert recall_at(1, queries, candidates, ["b", "c"], ["a", "b", "c"]) == 0.5
    assert recall_at(2, queries, candidates, ["b", "c"], ["a", "b", "c"]) == 1.0

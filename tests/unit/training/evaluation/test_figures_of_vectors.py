"""Zero-shot, retrieval, calibration, probe and intervals on vectors whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.compiler.bounds import lower, upper
from moderation.training.evaluation.calibration import calibration
from moderation.training.evaluation.linear_probe import linear_probe
from moderation.training.evaluation.retrieval import retrieval
from moderation.training.evaluation.share import change, share
from moderation.training.evaluation.zero_shot import zero_shot

EYE = np.eye(8, dtype=np.float16)


def test_zero_shot_counts_the_nearest_and_each_class_alike() -> None:
    labels = np.array([0, 0, 0, 1])
    found = zero_shot(EYE[[0, 0, 0, 2]], EYE[:7], labels, list("abcdefg"))
    assert (found.top1.value, found.mean_per_class.value) == (0.75, 0.5)
    assert found.per_class == {"a": 1.0, "b": 0.0}
    # To the last picture all classes but one are level: four places among the six of them.
    assert found.top5.value == pytest.approx((3 + 4 / 6) / 4)


def test_any_caption_of_a_picture_is_right_for_it() -> None:
    owner = np.array([0, 0, 1, 2])
    captions = EYE[[5, 0, 1, 1]]
    found = retrieval(EYE[:3], captions, owner, ks=(1, 2))
    assert found.image_to_text.at[1].value == pytest.approx((1 + 0.5 + 0.25) / 3)
    assert found.text_to_image.at[1].value == pytest.approx((1 / 3 + 1 + 1 + 0) / 4)
    assert found.image_to_text.chance[1] == pytest.approx((0.5 + 0.25 + 0.25) / 3)
    assert retrieval(EYE[:3], captions, owner, ks=(1, 2), chunk=1) == found


def test_probabilities_that_mean_what_they_say_have_no_error_beyond_luck() -> None:
    rng = np.random.default_rng(3)
    cosines = rng.uniform(-0.2, 0.2, (3000, 4))
    odds = np.exp(20 * cosines)
    chances = odds / odds.sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=one) for one in chances])
    honest, bold = calibration(cosines, labels, 20.0), calibration(cosines, labels, 80.0)
    assert honest.error < 2 * honest.floor
    assert bold.error > 0.15
    assert bold.low < bold.error < bold.high
    assert sum(one.count for one in bold.bins) == 3000
    order = rng.permutation(3000)
    assert calibration(cosines[order], labels[order], 80.0).error == pytest.approx(bold.error)


def test_a_linear_probe_finds_what_a_plane_can_part() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(90) % 3
    vectors = EYE[labels] + 0.05 * rng.normal(size=(90, 8)).astype(np.float16)
    clusters = [str(row // 6) for row in range(90)]
    heard: list[int] = []
    found = linear_probe(
        vectors,
        labels,
        [f"{label}/{one}" for label, one in zip(labels, clusters, strict=True)],
        seed=1,
        advance=heard.append,
    )
    assert found.accuracy.value == 1.0
    assert (found.classes, found.strength, len(heard)) == (3, 0.1, 5)
    assert found.accuracy.low < 1.0
    blind = linear_probe(np.ones_like(vectors), labels, [str(row) for row in range(90)], seed=1)
    assert blind.accuracy.low < 1 / 3 < blind.accuracy.high


@pytest.mark.parametrize("each", [1, 4])
def test_a_linear_probe_of_labels_without_a_reason_is_left_to_chance(each: int) -> None:
    # More directions than pictures: what it was fitted on it knows by heart, and so it does a picture's near-duplicates.
    rng = np.random.default_rng(7)
    things = rng.normal(size=(200 // each, 300)).repeat(each, axis=0)
    vectors = things + 0.01 * rng.normal(size=things.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = (np.arange(200 // each) % 2).repeat(each).astype(np.int64)
    clusters = [str(row // each) for row in range(200)]
    found = linear_probe(vectors.astype(np.float32), labels, clusters, seed=1)
    assert found.accuracy.value < 0.78
    assert found.fitted == 160


def test_an_interval_counts_clusters_not_pictures() -> None:
    values = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    alone, together = share(values), share(values, list("aaaabbbb"))
    assert (alone.count, alone.clusters, together.clusters) == (8, 8, 2)
    assert together.low < alone.low < 0.5 < alone.high < together.high
    assert share(np.ones(4)).low == pytest.approx(0.025 ** (1 / 4))  # Clopper and Pearson, all of four
    assert share(values, list("aaaabbbb")) == together


def test_groups_that_are_all_right_or_all_wrong_still_have_an_interval() -> None:
    found = share(np.array([1.0] * 10 + [0.0] * 10), groups=list("a" * 10 + "b" * 10))
    assert found.value == 0.5
    assert 0.3 < found.low < 0.4
    assert 0.6 < found.high < 0.7


@pytest.mark.parametrize(
    ("clusters", "groups", "exact"),
    [("aaaaaa", None, (2 / 3, 1)), ("aaabbb", "xxxyyy", (2 / 3, 1)), ("aaabbbccc", None, (2 / 3, 3))],
)
def test_what_shows_no_spread_is_not_known_for_sure(
    clusters: str, groups: str | None, exact: tuple[float, int]
) -> None:
    """One object in six pictures, one in each class, or three objects of which each is right in two of three."""
    found = share(np.tile([1.0, 1.0, 0.0], len(clusters) // 3), list(clusters), groups=list(groups) if groups else None)
    rate, objects = exact
    assert found.low == pytest.approx(lower(rate * objects, objects, 0.025))
    assert found.high == pytest.approx(upper(rate * objects, objects, 0.025))
    assert found.low < 0.1
    assert found.high > 0.97


def test_a_change_is_measured_thing_by_thing() -> None:
    before = np.tile([1.0, 1.0, 0.0, 0.0], 25)
    after = before.copy()
    after[:8:4] = 0.0
    names = [str(row) for row in range(100)]
    found = change(after, before, names)
    assert found.value == -0.02
    assert -0.06 < found.low < found.value < found.high <= 0.0  # the two shares' own intervals overlap almost wholly
    assert change(before, before, names).high == 0.0
    one = change(after, before, ["a"] * 100)
    assert (one.value, one.low, one.high) == (-0.02, -1.0, 1.0)

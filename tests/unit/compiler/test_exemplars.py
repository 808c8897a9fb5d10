"""Exemplars: a training-free memory beside the text; a cluster votes once, and memory is kept only where it pays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from moderation.compiler.exemplars import AFFINITIES, DEFAULT, Affinity, remembering_head
from moderation.compiler.levels import average_precision, choose_level
from moderation.compiler.probe import Targets, targets
from moderation.detector.head import Head
from moderation.errors import LockError
from tests.unit.compiler.objects import WIDTH, head, objects, with_copies

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the compiler runs it."""
    with threadpool_limits(1):
        yield


def renamed(known: Targets) -> Targets:
    """Of other clusters than any that are fitted on."""
    return targets(known.vectors, known.violating, known.clusters + 1000)


KNOWN = renamed(objects(RNG(10), text=0.5, learned=3.0, count=6))
STRONG = Affinity(1.0, 10.0)
OTHERS = objects(RNG(11), text=0.5, learned=3.0, count=40)


def precision(one: Head, on: Targets = OTHERS) -> float:
    return average_precision(one.raw(on.vectors), on)


def test_examples_tell_what_the_words_do_not() -> None:
    assert precision(remembering_head(head(), KNOWN, STRONG)) > precision(head()) + 0.1


def test_no_weight_is_the_text_and_more_weight_leaves_it_further() -> None:
    text = head().raw(OTHERS.vectors)
    left = [
        float(np.abs(remembering_head(head(), KNOWN, Affinity(weight, 10.0)).raw(OTHERS.vectors) - text).max())
        for weight in (0.0, 0.25, 1.0, 4.0)
    ]
    assert left[0] < 1e-6
    assert left == sorted(left)


def test_a_cluster_votes_once_however_many_pictures_it_has() -> None:
    once, often = (remembering_head(head(), one, DEFAULT) for one in (KNOWN, with_copies(KNOWN, 1000)))
    np.testing.assert_allclose(once.raw(OTHERS.vectors), often.raw(OTHERS.vectors), atol=1e-5)
    assert once.remembered is not None
    assert often.remembered is not None
    for known, made in ((KNOWN, once), (with_copies(KNOWN, 1000), often)):
        votes = np.abs(made.remembered.votes)  # type: ignore[union-attr]
        totals = [votes[known.clusters == cluster].sum() for cluster in np.unique(known.clusters)]
        assert totals == pytest.approx([totals[0]] * len(totals))


@pytest.mark.parametrize("side", [True, False])
def test_examples_of_one_class_move_scores_its_way(side: bool) -> None:
    known = KNOWN.take(np.flatnonzero(KNOWN.violating == side))
    made = remembering_head(head(), known, DEFAULT)
    moved = made.raw(OTHERS.vectors) - head().raw(OTHERS.vectors)
    assert (np.sign(moved) == (1 if side else -1)).all()
    near, far = (moved[OTHERS.violating == one].mean() for one in (side, not side))
    assert abs(near) > abs(far)


def test_a_single_example_makes_a_head() -> None:
    one = KNOWN.take(np.array([0]))
    assert np.isfinite(remembering_head(head(), one, DEFAULT).raw(OTHERS.vectors)).all()


def test_without_targets_exemplars_count_a_little_and_it_is_said() -> None:
    choice = choose_level([head()], None, seed=0, exemplars=KNOWN)
    assert (choice.head.level, choice.affinity) == ("L2", DEFAULT)
    assert "unmeasured" in choice.reason


def test_targets_choose_how_far_exemplars_count() -> None:
    fit = objects(RNG(12), text=0.5, learned=3.0, count=9)
    choice = choose_level([head()], fit, seed=0, exemplars=KNOWN)
    assert {"L0", "L2", "L3"} == set(choice.measured)
    assert choice.measured["L2"].mean > choice.measured["L0"].mean
    assert choice.head.level in {"L2", "L3"}
    assert (choice.affinity in AFFINITIES) == (choice.head.level == "L2")


def test_exemplars_that_mislead_are_left_out() -> None:
    fit = objects(RNG(13), text=4.0, learned=0.0, count=12)
    noise = renamed(objects(RNG(14), text=0.0, learned=0.0, count=4))
    choice = choose_level([head()], fit, seed=0, exemplars=noise)
    assert choice.head.level == "L0"
    assert choice.affinity is None


def test_a_head_goes_through_its_arrays() -> None:
    made = remembering_head(head(), KNOWN, DEFAULT)
    again = Head.from_arrays("L2", made.to_arrays())
    np.testing.assert_array_equal(again.score(OTHERS.vectors).values, made.score(OTHERS.vectors).values)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"votes": np.ones(3)}, "votes"),
        ({"exemplars": np.zeros((12, WIDTH), np.float64)}, "exemplars"),
        ({"affinity": np.array([-1.0])}, "above 0"),
        ({"affinity": np.array([np.nan])}, "not finite"),
    ],
)
def test_exemplars_that_do_not_fit_are_refused(changes: dict[str, np.ndarray], expected: str) -> None:
    arrays = remembering_head(head(), KNOWN, DEFAULT).to_arrays()
    with pytest.raises(LockError, match=expected):
        Head.from_arrays("L2", {**arrays, **changes})
    with pytest.raises(LockError, match="found arrays"):
        Head.from_arrays("L1", arrays)

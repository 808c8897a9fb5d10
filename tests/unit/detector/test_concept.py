"""The built-in detector: one score or abstention per part, and locks that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.decision import Abstention, Score
from moderation.detector.base import DetectionBatch
from moderation.detector.concept import ConceptDetector
from moderation.errors import DetectorError, LockError
from moderation.item import Modality
from moderation.policy.lock import Lock
from tests import fakes


def batch(*cosines: float, vectors: np.ndarray | None = None) -> DetectionBatch:
    parts = tuple(fakes.picture(one) for one in cosines)
    made = np.stack([fakes.at(one) for one in cosines]).astype(np.float16) if vectors is None else vectors
    return DetectionBatch(parts, made)


def test_it_scores_every_part_and_names_the_phrase() -> None:
    detector = ConceptDetector(fakes.lock())
    assert (detector.id, detector.labels, detector.needs_embeddings) == ("weapons", ("weapons",), True)
    assert detector.modalities == {Modality.IMAGE}
    low, high = (answer[0] for answer in detector.detect(batch(0.1, 0.9)) if not isinstance(answer, Abstention))
    assert isinstance(low, Score)
    assert (low.label, low.concept) == ("weapons", "1.0")
    assert low.value < 0.5 < high.value


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0, 3.0])
def test_a_vector_that_no_encoder_makes_is_an_abstention_and_the_others_are_scored(broken: float) -> None:
    detector = ConceptDetector(fakes.lock())
    vectors = np.stack([fakes.at(0.9), np.full(fakes.WIDTH, broken), fakes.at(0.1)]).astype(np.float16)
    first, second, third = detector.detect(batch(0.9, 0.5, 0.1, vectors=vectors))
    assert isinstance(second, Abstention)
    assert second.reason == "unsound_embedding"
    assert (first, third) == detector.detect(batch(0.9, 0.1))


def test_no_parts_are_no_answers() -> None:
    empty = DetectionBatch((), np.empty((0, fakes.WIDTH), np.float16))
    assert ConceptDetector(fakes.lock()).detect(empty) == ()


@pytest.mark.parametrize("vectors", [None, np.zeros((1, 3), np.float16), np.zeros((2, fakes.WIDTH), np.float16)])
def test_a_batch_without_vectors_that_fit_is_refused(vectors: np.ndarray | None) -> None:
    with pytest.raises(DetectorError, match=r"expected float16 \(1, 8\)"):
        ConceptDetector(fakes.lock()).detect(DetectionBatch((fakes.picture(1.0),), vectors))


def explained(**changes: object) -> Lock:
    """Two violating phrases and two contrast phrases; of each kind one counts."""
    arrays = {
        "violating": np.stack([fakes.at(1.0), fakes.at(0.6)]).astype(np.float32),
        "contrast": np.stack([fakes.at(0.0), fakes.at(-0.6)]).astype(np.float32),
        "gain": np.full(4, 4.0),
        "offset": np.zeros(4),
        "weights": np.array([0.0, 1.5, 0.5, 0.0]),
        "numbers": np.array([2.0, 0.0, 2.0, -3.0, 0.0]),
    }
    values = {"level": "L5", "phrases": ("1.0", "0.6"), "concepts": ("far", "near", "toy", "nature")}
    return fakes.lock(**{**values, "arrays": {**fakes.lock().arrays, **arrays}, **changes})


def test_at_l5_a_score_tells_what_each_concept_that_counts_added_to_its_log_odds() -> None:
    detector = ConceptDetector(explained())
    (low,), (high,) = detector.detect(batch(0.1, 0.9))  # type: ignore[misc]
    for score, cosine in ((low, 0.1), (high, 0.9)):
        x = fakes.at(cosine).astype(np.float16).astype(np.float64)
        near, toy = (np.log1p(np.exp(2 * 4 * (x @ phrase))) / 2 for phrase in (fakes.at(0.6), fakes.at(0.0)))
        assert score.evidence == {
            "near": pytest.approx(0.75 * near, abs=1e-5),
            "toy": pytest.approx(-0.25 * toy, abs=1e-5),
        }
        odds = np.log(score.value / (1 - score.value))
        assert odds == pytest.approx(-1.5 + sum(score.evidence.values()), abs=1e-4)
        assert score.concept == "0.6"  # the only violating one that counts, though the other is nearer


def test_phrases_of_one_concept_are_told_as_one() -> None:
    arrays = {**explained().arrays, "weights": np.ones(4)}
    apart = ConceptDetector(explained(arrays=arrays)).detect(batch(0.4))[0][0].evidence
    as_one = ConceptDetector(explained(arrays=arrays, concepts=("arms", "arms", "toy", "toy"))).detect(batch(0.4))
    assert as_one[0][0].evidence == {
        "arms": pytest.approx(apart["far"] + apart["near"], abs=2e-6),
        "toy": pytest.approx(apart["toy"] + apart["nature"], abs=2e-6),
    }


def test_below_l5_nothing_is_told_beside_the_phrase() -> None:
    assert all(answer[0].evidence is None for answer in ConceptDetector(fakes.lock()).detect(batch(0.1, 0.9)))  # type: ignore[union-attr]


def test_what_is_told_of_a_part_does_not_hang_on_its_company() -> None:
    detector = ConceptDetector(explained(arrays={**explained().arrays, "weights": np.ones(4) / 3}))
    cosines = np.linspace(-0.99, 0.99, 150).tolist()
    together = detector.detect(batch(*cosines))
    assert [detector.detect(batch(one))[0] for one in cosines] == list(together)


WEIGHTS = explained().arrays


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"concepts": ("far", "near", "toy")}, "names concepts of 3 phrases, but its head has 4"),
        ({"arrays": {**WEIGHTS, "weights": np.array([0.0, -0.1, 0.5, 0.0])}}, "expected none below 0"),
        ({"arrays": {**WEIGHTS, "weights": np.array([0.0, np.nan, 0.5, 0.0])}}, "not finite"),
        ({"arrays": {**WEIGHTS, "weights": np.ones(3)}}, "'weights' is float64"),
        ({"arrays": {name: one for name, one in WEIGHTS.items() if name != "weights"}}, "found arrays"),
        ({"level": "L1"}, "found arrays"),
    ],
)
def test_a_lock_of_l5_that_was_edited_by_hand_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(LockError, match=expected):
        ConceptDetector(explained(**changes))


ARRAYS = fakes.lock().arrays


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"phrases": ("a", "b")}, "2"),
        ({"width": 9}, "9"),
        ({"level": "L3"}, "expected"),
        ({"arrays": {name: array for name, array in ARRAYS.items() if name != "gain"}}, "gain"),
        ({"arrays": {**ARRAYS, "gain": np.full(2, np.nan)}}, "not finite"),
        ({"arrays": {**ARRAYS, "contrast": np.zeros((0, 8), np.float32)}}, "gain"),
        ({"arrays": {**ARRAYS, "violating": ARRAYS["violating"].astype(np.float64)}}, "float64"),
        ({"arrays": {**ARRAYS, "numbers": np.array([10.0, 0.0, 0.0, 0.0, 0.0])}}, "above 0"),
        ({"arrays": {**ARRAYS, "numbers": np.zeros(3)}}, "numbers"),
    ],
)
def test_a_lock_whose_head_does_not_fit_is_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(LockError, match=expected):
        ConceptDetector(fakes.lock(**changes))

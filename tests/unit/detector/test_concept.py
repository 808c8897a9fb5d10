"""The built-in detector: one score or abstention per part, and locks that do not fit are refused."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.decision import Abstention, Score
from moderation.detector.base import DetectionBatch
from moderation.detector.concept import ConceptDetector
from moderation.errors import DetectorError, LockError
from moderation.item import Modality
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

"""Zero-shot: cosines as they are, and shares of them that are a softmax at CLIP's scale."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from moderation.embedding.zero_shot import Likeness, zero_shot
from tests.unit.history.kept import unit


@given(texts=st.integers(1, 6), pictures=st.integers(0, 6), seed=st.integers(0, 1000))
def test_shares_are_the_softmax_of_a_hundred_times_the_cosines(texts: int, pictures: int, seed: int) -> None:
    words, seen = unit(texts, 16, seed), unit(pictures, 16, seed + 1)
    names = [f"text {place}" for place in range(texts)]
    found = zero_shot(names, words=words, pictures=seen)
    cosines = seen.astype(np.float64) @ words.astype(np.float64).T
    assert [[one.text for one in row] for row in found] == [names] * pictures
    for row, cosine in zip(found, cosines, strict=True):
        assert np.allclose([one.similarity for one in row], cosine, atol=1e-6)
        assert np.allclose([one.probability for one in row], softmax(100 * cosine), atol=1e-6)


def test_a_text_alone_is_all_there_is() -> None:
    (row,) = zero_shot(["a dog"], words=unit(1), pictures=unit(1))
    (one,) = row
    assert one == Likeness("a dog", one.similarity, 1.0)
    assert one.to_dict() == {"text": "a dog", "similarity": one.similarity, "probability": 1.0}

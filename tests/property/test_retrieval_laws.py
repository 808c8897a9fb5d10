"""Laws of ranking: a share among the first k never falls with k, and on vectors that are all alike it is chance."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from moderation.training.evaluation.ranking import places, within
from moderation.training.evaluation.retrieval import retrieval

SMALL = st.integers(-2, 2).map(float)


@given(data=st.data(), queries=st.integers(1, 5), candidates=st.integers(1, 7))
def test_within_is_what_drawing_lots_among_equals_gives(data: st.DataObject, queries: int, candidates: int) -> None:
    cosines = data.draw(arrays.arrays(np.float64, (queries, candidates), elements=SMALL))
    right = data.draw(arrays.arrays(np.bool_, (queries, candidates)))
    right[:, 0] |= ~right.any(axis=1)
    found = places(cosines, right)
    shares = [within(found, k) for k in range(1, candidates + 1)]
    rng = np.random.default_rng(1)
    lots = [np.lexsort((rng.random(cosines.shape), -cosines), axis=1) for _ in range(300)]
    for k, share in enumerate(shares, start=1):
        drawn = np.mean([np.take_along_axis(right, order, axis=1)[:, :k].any(axis=1) for order in lots], axis=0)
        assert share == pytest.approx(drawn, abs=0.15)
    assert all((later >= earlier - 1e-12).all() for earlier, later in itertools.pairwise(shares))
    assert shares[-1] == pytest.approx(np.ones(queries))


@given(owner=st.lists(st.integers(0, 5), min_size=1, max_size=12), k=st.integers(1, 12))
def test_an_encoder_that_sees_no_difference_gets_chance(owner: list[int], k: int) -> None:
    images, captions = np.ones((6, 4), np.float16), np.ones((len(owner), 4), np.float16)
    found = retrieval(images, captions, np.array(owner), ks=(k,))
    for one in (found.image_to_text, found.text_to_image):
        assert one.at[k].value == pytest.approx(one.chance[k])

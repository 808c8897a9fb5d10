"""Wilson's and Newcombe's intervals: what they must always keep. Published figures stand in tests/unit/audit/test_published_figures.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moderation.compiler.intervals import wilson


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (1, 29), (15, 148), (81, 263), (20, 20)])
def test_wilson_is_scipys(hits: int, trials: int):
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert np.allclose(wilson(hits, trials, 0.95), (expected.low, expected.high), atol=1e-12)


def test_nothing_tried_says_nothing():
    assert [float(one) for one in wilson(0, 0, 0.95)] == [0.0, 1.0]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_its_rate_and_grows_with_confidence(counts: tuple[int, int], confidence: float):
    hits, trials = counts
    low, high = wilson(hits, trials, confidence)
    wider = wilson(hits, trials, (1.0 + confidence) / 2.0)
    assert 0.0 <= wider[0] <= low <= hits / trials <= high <= wider[1] <= 1.0

"""Wilson's and Newcombe's intervals against published figures and what they must always keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moderation.compiler.bounds import lower, upper
from moderation.compiler.intervals import newcombe, wilson


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (1, 29), (15, 148), (81, 263), (20, 20)])
def test_wilson_is_scipys(hits: int, trials: int):
    expected = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert np.allclose(wilson(hits, trials, 0.95), (expected.low, expected.high), atol=1e-12)


def test_newcombe_gives_the_figures_of_his_paper():
    # Newcombe 1998, table II, method 10: 56/70 against 48/80, and 9/10 against 3/10.
    assert np.allclose(newcombe(56, 70, 48, 80, 0.95), (0.0524, 0.3339), atol=5e-5)
    assert np.allclose(newcombe(9, 10, 3, 10, 0.95), (0.1705, 0.8090), atol=5e-5)


def test_nothing_tried_says_nothing():
    assert [float(one) for one in wilson(0, 0, 0.95)] == [0.0, 1.0]
    assert [float(one) for one in newcombe(0, 0, 3, 10, 0.95)] == [-1.0, 1.0]


def test_coverage_at_rare_events_is_as_published():
    # n = 200, rate 0.5 %: Wilson covers 92 %, Clopper and Pearson 98 %.
    hits = np.random.default_rng(0).binomial(200, 0.005, 20_000)
    low, high = wilson(hits, 200, 0.95)
    assert ((low <= 0.005) & (high >= 0.005)).mean() == pytest.approx(0.92, abs=0.01)
    exact = (lower(hits, 200, 0.025) <= 0.005) & (upper(hits, 200, 0.025) >= 0.005)
    assert exact.mean() == pytest.approx(0.98, abs=0.01)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_holds_its_rate_and_grows_with_confidence(counts: tuple[int, int], confidence: float):
    hits, trials = counts
    low, high = wilson(hits, trials, confidence)
    wider = wilson(hits, trials, (1.0 + confidence) / 2.0)
    assert 0.0 <= wider[0] <= low <= hits / trials <= high <= wider[1] <= 1.0

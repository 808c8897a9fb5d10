"""The permutation test where some clusters are of one group and some mix: it keeps its level, and a few mixed ones cost no power."""

import numpy as np
import pytest
from scipy.stats import binom

from moderation.audit.cells import cells_of
from moderation.audit.gaps import Verdict, compare, decide
from moderation.audit.permutation import permutation_p

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]

RUNS = 300
FEW = int(binom.ppf(0.999, RUNS, 0.05))  # what a true 5 % exceeds in one of a thousand sets of runs
GROUPS = ("one group in each cluster", "pairs of both", "a third in pairs", "pairs, and a group without any")


def styles(seed: int, rates: tuple[float, ...] = (26 / 171, 10 / 173, 0.0), *, split: bool = False) -> Rows:
    """Drawings of three styles, 171, 173 and 131, in 461 clusters of which 12 hold two or three styles; `split` makes them hold one."""
    random = np.random.default_rng(seed)
    codes = np.repeat([0, 1, 2], [171, 173, 131])
    event = (random.random(475) < np.array(rates)[codes]).astype(np.float64)
    cluster = np.arange(475)
    first, second, third = (random.permutation(np.flatnonzero(codes == one)) for one in range(3))
    if not split:
        cluster[second[:10]] = first[:10]
        cluster[third[:4]] = np.concatenate([first[8:10], first[10:12]])
    return codes, event, np.unique(cluster, return_inverse=True)[1]


def drawn(kind: str, rates: tuple[float, float], seed: int) -> Rows:
    """Two groups of 240 items with these rates, in clusters of two that are alike (intra-cluster correlation 0.5)."""
    random = np.random.default_rng(seed)
    mixed = {GROUPS[0]: 0, GROUPS[1]: 240, GROUPS[2]: 80, GROUPS[3]: 100}[kind]
    shared = [0] * (240 - mixed) if kind == GROUPS[3] else [0, 1] * ((240 - mixed) // 2)
    codes = np.concatenate([np.tile([0, 1], mixed), np.repeat(shared, 2)]).astype(np.int64)
    cluster = np.repeat(np.arange(240), 2)
    luck = np.where(random.random(480) < np.sqrt(0.5), random.random(240)[cluster], random.random(480))
    return codes, (luck < np.array(rates)[codes]).astype(np.float64), cluster


def verdict(rows: Rows, tolerance: float, seed: int, *, family: int = 1) -> Verdict:
    groups = int(rows[0].max()) + 1
    cells = cells_of(*rows, groups=groups)
    p = permutation_p(*rows, groups=range(groups), seed=seed, draws=399)
    return decide(compare(cells, family=family), min(p * family, 1.0), tolerance, complete=True)


def test_a_few_mixed_clusters_do_not_hide_a_gap() -> None:
    codes, event, cluster = styles(0)
    held = np.array([len(set(codes[cluster == one])) for one in range(cluster.max() + 1)])
    assert (len(held), (held > 1).sum(), held.max()) == (461, 12, 3)
    assert permutation_p(codes, event, cluster, groups=range(3), seed=0) <= 0.01


def test_the_smaller_of_two_tests_counts_doubled() -> None:
    assert permutation_p(*styles(0), groups=range(3), seed=0, draws=199) == pytest.approx(2 / (2 * 199 + 1))
    assert permutation_p(*styles(0, split=True), groups=range(3), seed=0, draws=199) == pytest.approx(1 / (199 + 1))


def test_a_few_mixed_clusters_cost_hardly_any_power() -> None:
    rates = (0.17, 0.08, 0.02)  # found in part of the audits, so that a loss of power would show
    failed = [
        sum(verdict(styles(seed, rates, split=split), 0.05, seed) is Verdict.FAIL for seed in range(RUNS))
        for split in (False, True)
    ]
    assert 0.3 * RUNS < failed[1] < 0.9 * RUNS
    assert failed[0] >= failed[1] - 0.06 * RUNS


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_equal_styles_rarely_fail(rate: float) -> None:
    found = [permutation_p(*styles(seed, (rate,) * 3), groups=range(3), seed=seed, draws=199) for seed in range(RUNS)]
    assert sum(p <= 0.05 for p in found) <= FEW


@pytest.mark.parametrize("kind", GROUPS)
def test_equal_rates_have_a_small_p_no_more_often_than_stated(kind: str) -> None:
    found = [permutation_p(*drawn(kind, (0.2, 0.2), seed), groups=[0, 1], seed=seed, draws=199) for seed in range(RUNS)]
    assert sum(p <= 0.05 for p in found) <= FEW


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_a_gap_of_the_tolerance_or_none_rarely_fails(kind: str, gap: float) -> None:
    found = [verdict(drawn(kind, (0.15 + gap, 0.15), seed), 0.05, seed) for seed in range(RUNS)]
    assert found.count(Verdict.FAIL) <= FEW


@pytest.mark.parametrize("kind", GROUPS)
def test_a_large_gap_is_found_however_groups_mix(kind: str) -> None:
    found = [verdict(drawn(kind, (0.4, 0.15), seed), 0.05, seed) for seed in range(60)]
    assert found.count(Verdict.FAIL) >= 54


def test_a_group_that_alone_has_clusters_of_its_own_can_fail() -> None:
    """One-group clusters of a alone, b and c only together: no label of a could move, were parts of clusters never to move between."""
    random = np.random.default_rng(0)
    codes = np.concatenate([np.zeros(200, np.int64), np.tile([1, 2], 200)])
    cluster = np.concatenate([np.arange(200), 200 + np.repeat(np.arange(200), 2)])
    event = (random.random(600) < np.where(codes == 0, 0.3, 0.02)).astype(np.float64)
    assert permutation_p(codes, event, cluster, groups=range(3), seed=0) <= 0.01


def test_clusters_that_differ_hold_groups_apart_and_hide_nothing() -> None:
    """Group a lies mostly in clusters with a high rate: inside each cluster b is acted on more, and the test sees it."""
    random = np.random.default_rng(0)
    cluster = np.repeat(np.arange(80), 10)
    codes = (np.arange(800) % 10 >= np.where(cluster < 40, 8, 2)).astype(np.int64)
    event = (random.random(800) < np.where(cluster < 40, 0.55, 0.15) + 0.25 * codes).astype(np.float64)
    assert permutation_p(codes, event, cluster, groups=[0, 1], seed=0) <= 0.01

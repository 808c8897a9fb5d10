"""Gaps between groups: cells that know clusters, verdicts that fail, pass, or say that neither is shown."""

import numpy as np
import pytest
from scipy.stats import binom

from moderation.audit.cells import LEAST_CLUSTERS, Cells, cells_of
from moderation.audit.gaps import Pair, Verdict, adjust, compare, decide, difference_bounds
from moderation.audit.permutation import permutation_p
from moderation.audit.power import Beside, clusters_needed, detectable
from tests.unit.audit.audited import newcombe

RUNS = 300


def dealt(rates: list[float], size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent items of equally large groups with these rates: group, event, cluster."""
    codes = np.repeat(np.arange(len(rates)), size)
    event = np.random.default_rng(seed).random(len(codes)) < np.repeat(rates, size)
    return codes, event.astype(np.float64), np.arange(len(codes))


def templates(seed: int, *, mixed: bool, effect: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """30 templates with 20 fills each, whose log-odds vary with a standard deviation of 1.5; two groups, in or between templates."""
    random = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(30), 20)
    codes = np.tile([0, 1], 300) if mixed else cluster % 2
    odds = np.repeat(random.normal(0, 1.5, 30), 20) - 1.0 + effect * codes
    return codes, (random.random(600) < 1 / (1 + np.exp(-odds))).astype(np.float64), cluster


def verdict(rows: tuple[np.ndarray, np.ndarray, np.ndarray], tolerance: float, seed: int = 0) -> Verdict:
    groups = int(rows[0].max()) + 1
    cells = cells_of(*rows, groups=groups)
    p = permutation_p(*rows, groups=range(groups), seed=seed, draws=399)
    return decide(compare(cells), p, tolerance, complete=bool(cells.compared.all()))


def at_most(share: float) -> int:
    """The count of RUNS that a true share exceeds in one of a thousand sets of runs."""
    return int(binom.ppf(0.999, RUNS, share))


def at_least(share: float) -> int:
    return int(binom.ppf(0.001, RUNS, share))


@pytest.mark.parametrize("groups", [2, 7])
def test_equal_rates_fail_in_no_more_than_one_audit_of_twenty(groups: int):
    found = [verdict(dealt([0.05] * groups, 300, seed), 0.001, seed) for seed in range(RUNS)]
    assert found.count(Verdict.FAIL) <= at_most(0.05)


@pytest.mark.parametrize("mixed", [True, False], ids=["groups in every template", "a group has its own templates"])
def test_templates_filled_many_times_are_not_many_pieces_of_evidence(mixed: bool):
    found = [verdict(templates(seed, mixed=mixed), 0.001, seed) for seed in range(RUNS)]
    assert found.count(Verdict.FAIL) <= at_most(0.05)


def test_a_gap_of_just_the_tolerance_neither_fails_nor_passes_more_often_than_stated():
    found = [verdict(dealt([0.05, 0.10], 500, seed), 0.05, seed) for seed in range(RUNS)]
    assert found.count(Verdict.FAIL) <= at_most(0.05)
    assert found.count(Verdict.PASS) <= at_most(0.06)  # Wilson's bounds hold on average, not for every rate


@pytest.mark.parametrize(("rate", "size"), [(0.05, 500), (0.01, 300), (0.3, 100), (0.0, 200)])
def test_a_planted_gap_is_found_with_the_power_that_is_stated(rate: float, size: int):
    each = np.array([float(size)])
    beside = Beside(each, each, np.array([rate]), np.zeros(1))
    (gap,) = detectable(beside, tolerance=0.02, tests=1, power=0.8)
    found = [verdict(dealt([rate, rate + gap], size, seed), 0.02, seed) for seed in range(RUNS)]
    assert found.count(Verdict.FAIL) <= at_most(0.93)  # nor is a much smaller gap found just as well
    assert found.count(Verdict.FAIL) >= at_least(0.8)


def test_a_gap_inside_templates_is_found():
    found = [verdict(templates(seed, mixed=True, effect=1.0), 0.001, seed) for seed in range(100)]
    assert found.count(Verdict.FAIL) > 80


def test_groups_that_share_their_clusters_show_smaller_gaps():
    sizes, rate = np.array([70.0]), np.array([0.13])
    alone = detectable(Beside(sizes, sizes, rate, np.zeros(1)), tolerance=0.1, tests=4)
    shared = detectable(Beside(sizes, sizes, rate, np.full(1, 0.9)), tolerance=0.1, tests=4)
    assert shared[0] < 0.8 * alone[0]


def test_enough_items_settle_equal_rates():
    needed = clusters_needed(0.05, 0.05)
    found = [verdict(dealt([0.05, 0.05], needed, seed), 0.05, seed) for seed in range(RUNS)]
    assert found.count(Verdict.PASS) >= at_least(0.8)


def test_without_clusters_the_bounds_are_newcombes():
    rows = dealt([0.1, 0.3], 80, 0)
    cells = cells_of(*rows, groups=2)
    low, high = difference_bounds(cells, [(1, 0)], 0.95)
    expected = newcombe(cells.events[1], cells.effective[1], cells.events[0], cells.effective[0])
    assert low[0] == pytest.approx(expected[0], abs=0.01)
    assert high[0] == pytest.approx(expected[1], abs=0.01)


def test_repeating_every_item_adds_no_evidence():
    codes, event, cluster = dealt([0.1, 0.3], 80, 1)
    once = cells_of(codes, event, cluster, groups=2)
    often = cells_of(*(np.repeat(one, 5) for one in (codes, event, cluster)), groups=2)
    assert often.effective == pytest.approx(once.effective, rel=0.03)


def test_where_nothing_happens_the_clusters_count():
    cells = cells_of(np.zeros(100, np.int64), np.zeros(100), np.arange(100) // 5, groups=1)
    assert cells.effective[0] == 20.0


def test_a_tiny_group_is_not_compared_and_nothing_passes_without_it():
    codes, event, _ = dealt([0.0, 0.0], 2000, 0)
    few = LEAST_CLUSTERS - 1
    rows = np.append(codes, [2] * few), np.append(event, [0.0] * few), np.arange(4000 + few)
    assert verdict(dealt([0.0, 0.0], 2000, 0), 0.05) is Verdict.PASS
    assert verdict(rows, 0.05) is Verdict.INSUFFICIENT


def test_one_group_is_not_assessed():
    assert verdict(dealt([0.2], 100, 0), 0.05) is Verdict.NOT_ASSESSED


def test_no_items_at_all_are_not_assessed():
    empty = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    cells = cells_of(*empty, groups=2)
    assert compare(cells) == ()
    assert np.isnan(cells.rate).all()


def test_what_a_failure_looks_at_is_corrected_over_pairs_and_family_and_what_a_pass_looks_at_is_not():
    cells = cells_of(*dealt([0.1, 0.2, 0.3], 300, 0), groups=3)
    for pair in compare(cells, family=4):
        at = [(pair.a, pair.b)]
        assert pair.lower == difference_bounds(cells, at, 1 - 2 * 0.05 / (3 * 4))[0][0]
        assert pair.upper == difference_bounds(cells, at, 1 - 2 * 0.05)[1][0]
        assert (pair.low, pair.high) == tuple(float(one[0]) for one in difference_bounds(cells, at, 0.95))


def test_a_failure_takes_a_test_and_a_bound_and_a_pass_every_pair():
    far, near = Pair(0, 1, 0.2, 0.1, 0.3, lower=0.1, upper=0.3), Pair(0, 2, 0.01, 0.0, 0.02, lower=0.0, upper=0.02)
    assert decide([far, near], 0.01, 0.05, complete=True) is Verdict.FAIL
    assert decide([far, near], 0.06, 0.05, complete=True) is Verdict.INSUFFICIENT
    assert decide([far, near], 0.01, 0.15, complete=True) is Verdict.INSUFFICIENT
    assert decide([far, near], 0.01, 0.35, complete=True) is Verdict.PASS
    assert decide([far, near], 0.01, 0.35, complete=False) is Verdict.INSUFFICIENT
    assert decide([], 1.0, 0.05, complete=True) is Verdict.NOT_ASSESSED


def test_holm_steps_down_and_keeps_the_order():
    # Holm 1979; by hand: 3 x 0.01, then 2 x 0.02, then 1 x 0.03, each at least the one before.
    assert adjust([0.01, 0.03, 0.02], "holm") == pytest.approx([0.03, 0.04, 0.04])
    assert adjust([0.01, 0.6], "bonferroni") == pytest.approx([0.02, 1.0])
    assert adjust([], "holm") == []


def test_cells_are_a_value_of_their_counts_whatever_the_order():
    codes, event, cluster = templates(3, mixed=True)
    order = np.random.default_rng(0).permutation(len(codes))
    one, other = (
        cells_of(codes, event, cluster, groups=2),
        cells_of(codes[order], event[order], cluster[order], groups=2),
    )
    for name in Cells.__slots__:
        assert np.allclose(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("mixed", [True, False], ids=["inside clusters", "between clusters"])
def test_drawing_counts_gives_what_shuffling_labels_gives(mixed: bool):
    codes, event, cluster = templates(5, mixed=mixed, effect=0.4 if mixed else 0.0)
    p = permutation_p(codes, event, cluster, groups=[0, 1], seed=1, draws=4000)
    random, observed, more = np.random.default_rng(2), abs(event[codes == 0].mean() - event[codes == 1].mean()), 0
    for _ in range(2000):
        if mixed:
            shuffled = codes[np.argsort(cluster + random.random(len(codes)))]  # clusters stand in order
        else:
            shuffled = random.permutation(codes[::20])[cluster]
        more += abs(event[shuffled == 0].mean() - event[shuffled == 1].mean()) >= observed - 1e-9
    assert p == pytest.approx((more + 1) / 2001, abs=0.035)

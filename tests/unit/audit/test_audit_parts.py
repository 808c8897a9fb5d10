"""The other sections of an audit: curves, calibration, counterfactual pairs, intersections, the columns themselves."""

import numpy as np
import pytest

from moderation.audit.cells import cells_of
from moderation.audit.counterfactual import compare_counterfactuals
from moderation.audit.curves import gap_curve, reliability
from moderation.audit.pooling import pool, stand_out
from moderation.audit.screening import screen
from tests.unit.audit.audited import judged, planted, sample_of


def test_who_could_not_be_judged_is_counted_by_group_and_never_dropped():
    sample = sample_of(
        [
            judged(0, group="a"),
            judged(1, group="b", score=None, error="unsupported_input (truncated)"),
            judged(2, group="b", score=float("nan")),
            judged(3),
        ]
    )
    assert len(sample) == 2
    assert sample.excluded == {"the score is no number": 1, "unsupported_input (truncated)": 1}
    assert sample.lost["group"] == {"b": 2}
    assert sample.groups["group"].codes.tolist() == [0, -1]


def test_the_audits_own_clusters_come_before_the_manifests():
    items = [judged(n, cluster=f"c{n}", author="x" if n < 3 else "") for n in range(5)]
    assert sample_of(items, [], clusters="author").clusters == 3
    assert sample_of(items, []).clusters == 5


def test_crossed_attributes_know_only_what_is_stated():
    sample = sample_of(
        [judged(0, tone="dark", gender="man"), judged(1, tone="dark"), judged(2, tone="light", gender="man")],
        ["tone", "gender"],
    )
    crossed = sample.crossed(["tone", "gender"])
    assert crossed.names == ("dark × man", "light × man")
    assert crossed.codes.tolist() == [0, -1, 1]


def test_the_curve_shows_a_gap_that_the_threshold_in_use_hides():
    items = [judged(n, score=0.3 + 0.3 * (n % 2) + 0.001 * n, group="a" if n % 2 else "b") for n in range(100)]
    sample = sample_of(items)
    points = gap_curve(sample, sample.groups["group"], eligible=~sample.target, missed=False)
    assert points[-1].rates == (1.0, 1.0)  # at the lowest score everything is flagged
    assert max(point.gap for point in points) == 1.0
    assert [one.threshold for one in points] == sorted((one.threshold for one in points), reverse=True)


def test_missed_items_are_those_below():
    sample = planted({"a": 0.8, "b": 0.8}, 200, seed=0, target=True)
    points = gap_curve(sample, sample.groups["group"], eligible=sample.target, missed=True)
    assert points[0].rates[0] == pytest.approx(1.0, abs=0.02)  # at the highest score nearly all are missed
    assert points[-1].rates == pytest.approx((0.0, 0.0), abs=0.01)  # thresholds are rounded to 1e-6


def test_a_score_that_means_less_for_one_group_is_told_with_its_sign():
    random, items = np.random.default_rng(0), []
    for n in range(2000):
        group, score = "ab"[n % 2], float(random.uniform(0.05, 0.95))
        chance = min(score * (1.5 if group == "a" else 0.5), 1.0)
        items.append(judged(n, score=score, target=bool(random.random() < chance), group=group))
    sample = sample_of(items)
    understated, overstated = reliability(sample, sample.groups["group"])
    assert understated.low is not None
    assert understated.low > 0
    assert overstated.high is not None
    assert overstated.high < 0


def test_reliability_with_one_class_says_nothing():
    sample = planted({"a": 0.1}, 50, seed=0)
    assert reliability(sample, sample.groups["group"]) == ()


def test_pairs_differ_in_one_attribute_and_in_nothing_else():
    def row(number: int, tone: str, gender: str, *, hit: bool, cluster: str = "cook"):
        return judged(number, tone=tone, gender=gender, force=int(hit), score=0.5 + 0.4 * hit, cluster=cluster)

    sample = sample_of(
        [
            row(0, "dark", "man", hit=True),
            row(1, "light", "man", hit=False),
            row(2, "light", "woman", hit=False),
            row(3, "dark", "man", hit=False, cluster="pilot"),
        ],
        ["tone", "gender"],
    )
    found = compare_counterfactuals(sample, "tone", others=["gender"], flagged=sample.force > 0)
    assert (found.pairs, found.flips, found.flip_rate) == (1, 1, 1.0)
    (swap,) = found.swaps
    assert (swap.a, swap.b, swap.only_a, swap.only_b) == ("dark", "light", 1, 0)
    assert swap.score_change == pytest.approx(-0.4)
    assert found.worst == ((f"{0:064d}", f"{1:064d}", pytest.approx(-0.4)),)


def test_mcnemar_counts_a_cluster_once():
    def both(cluster: int, hit: bool):
        return [
            judged(100 * cluster + n, tone=tone, force=int(hit and tone == "dark"), cluster=f"c{cluster}")
            for n, tone in enumerate(["dark", "light"])
        ]

    sample = sample_of([one for cluster in range(10) for one in both(cluster, cluster < 6)], ["tone"])
    found = compare_counterfactuals(sample, "tone", others=[], flagged=sample.force > 0)
    assert found.swaps[0].p == pytest.approx(2 * 0.5**6)  # six clusters one way, none the other, both sides


def test_pooling_draws_small_cells_in_and_leaves_large_ones():
    codes = np.repeat([0, 1, 2], [1000, 1000, 4])
    event = np.concatenate([np.arange(1000) < 50, np.arange(1000) < 200, np.ones(4)]).astype(np.float64)
    cells = cells_of(codes, event, np.arange(len(codes)), groups=3)
    pooled = pool(cells)
    assert pooled[0] == pytest.approx(0.05, abs=0.01)
    assert pooled[1] == pytest.approx(0.2, abs=0.01)
    assert pooled[2] < 0.9


def test_cells_that_differ_by_chance_alone_become_the_common_rate():
    cells = cells_of(np.repeat([0, 1], 100), np.tile([1.0] + [0.0] * 9, 20), np.arange(200), groups=2)
    assert pool(cells) == pytest.approx([0.1, 0.1])


def test_the_cell_that_stands_out_is_named_and_a_tiny_one_is_not():
    codes = np.repeat([0, 1, 2], [500, 500, 3])
    event = np.concatenate([np.arange(500) < 25, np.arange(500) < 150, np.ones(3)]).astype(np.float64)
    chances = stand_out(cells_of(codes, event, np.arange(len(codes)), groups=3))
    assert chances[1] < 0.001
    assert np.isnan(chances[2])


def test_the_four_fifths_rule_needs_two_groups_and_an_event():
    nothing = cells_of(np.repeat([0, 1], 50), np.zeros(100), np.arange(100), groups=2)
    assert screen(nothing) is None
    some = cells_of(
        np.repeat([0, 1], 50), (np.arange(100) % 50 < np.repeat([5, 20], 50)).astype(float), np.arange(100), groups=2
    )
    found = screen(some)
    assert found is not None
    assert found.fires
    assert found.ratio == pytest.approx(0.25)
    assert found.low is not None
    assert found.low < 0.25

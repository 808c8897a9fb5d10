"""The other sections of an audit: curves, calibration, intersections, the columns themselves."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from moderation.audit.cells import cells_of, count_cells
from moderation.audit.curves import gap_curve, reliability
from moderation.audit.harms import assess_harms, explore_intersections
from moderation.audit.pooling import chances, pool
from moderation.audit.screening import screen
from tests.unit.audit.audited import block, judged, planted, sample_of

ORDER = ("allow", "review", "remove")


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
    found = chances(cells_of(codes, event, np.arange(len(codes)), groups=3))
    assert found[1] < 0.001
    assert np.isnan(found[2])


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


def test_the_interval_of_a_ratio_knows_clusters():
    codes, event = np.repeat([0, 1], 100), (np.arange(200) % 100 < np.repeat([20, 40], 100)).astype(float)
    once = screen(cells_of(codes, event, np.arange(200), groups=2))
    often = screen(cells_of(*(np.repeat(one, 6) for one in (codes, event, np.arange(200))), groups=2))
    assert once is not None
    assert often is not None
    assert (often.low, often.high) == pytest.approx((once.low, once.high), rel=0.02)


def test_intersections_are_corrected_over_all_that_is_explored_together():
    items = [
        judged(
            n,
            force=int(n % 20 < (9 if n // 40 % 2 and n % 2 else 4)),
            review=n % 3 == 0,
            tone="ab"[n % 2],
            gender="xy"[n // 40 % 2],
        )
        for n in range(400)
    ]
    sample = sample_of(items, ["tone", "gender"])
    harms = [{"name": "first"}, {"name": "second", "metric": "review_share"}]
    names = [{"name": one, "about": "depicted", "source": "made"} for one in ("tone", "gender")]
    both, alone = (
        explore_intersections(block(*chosen, attributes=names, intersections=[["tone", "gender"]]), sample, order=ORDER)
        for chosen in (harms, harms[:1])
    )
    assert [one.family for one in both] == [8, 8]
    assert [one.family for one in alone] == [4]
    raw = [
        chances(count_cells(sample, sample.crossed(["tone", "gender"]), eligible=np.ones(400, bool), event=event))
        for event in (sample.force > 0, sample.review)
    ]
    corrected = false_discovery_control(np.concatenate(raw))
    assert [*both[0].stands_out, *both[1].stands_out] == pytest.approx(corrected)
    assert both[0].stands_out != alone[0].stands_out


def test_what_a_cell_could_show_depends_on_its_own_size_and_on_how_much_is_asked():
    items = [
        judged(n, force=int(n % 10 == 0), group="a" if n < 1000 else "b" if n < 1200 else "c") for n in range(1260)
    ]
    (alone,) = assess_harms(block(), sample_of(items), order=ORDER)
    a, b, c = (cell.detectable for cell in alone.cells)
    assert a == pytest.approx(b, rel=0.05)  # a's largest neighbour is b, b's is a
    assert b < 0.7 * c
    of_many = assess_harms(block(*({"name": f"h{n}"} for n in range(8))), sample_of(items), order=ORDER)[0]
    assert of_many.cells[1].detectable > 1.1 * b


def test_the_pair_that_drives_the_gap_is_named_first():
    rates = {"a": 0.02, "b": 0.30, "c": 0.10}
    (found,) = assess_harms(block(), planted(rates, 400, seed=0), order=ORDER)
    assert (found.gaps[0].a, found.gaps[0].b) == ("b", "a")
    assert [one.difference for one in found.gaps] == sorted((one.difference for one in found.gaps), reverse=True)
    assert found.reason.startswith("b 0.")
    assert (found.pairs, len(found.gaps)) == (3, 3)

"""The audit's figures against published ones; where ours differs, the test says why, and the primary source stands beside it."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from moderation.audit.cells import Cells, cells_of
from moderation.audit.gaps import difference_bounds
from moderation.audit.pooling import discovered
from moderation.audit.power import Beside, detectable
from moderation.audit.ranking import rank_groups
from moderation.audit.screening import chance_of_firing, screen
from moderation.compiler.bounds import lower, upper
from moderation.compiler.intervals import wilson
from tests.unit.audit.audited import judged, newcombe, sample_of


def percent(bounds: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Both ends in percent, as a paper prints them."""
    return [round(100 * float(one), 1) for one in bounds]


def counted(*groups: tuple[int, int]) -> Cells:
    """Cells of independent items: events and items of each group."""
    codes = np.repeat(np.arange(len(groups)), [items for _, items in groups])
    event = np.concatenate([np.arange(items) < events for events, items in groups]).astype(np.float64)
    return cells_of(codes, event, np.arange(len(codes)), groups=len(groups))


@pytest.mark.parametrize(
    ("counts", "published"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((0, 10, 0, 10), (-0.2775, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_differences_newcombe_1998(counts: tuple[int, int, int, int], published: tuple[float, float]) -> None:
    # Newcombe, Statistics in Medicine 17:873-890 (1998), table II, method 10, all eight of its examples.
    assert np.allclose(newcombe(*counts), published, atol=5e-5)


@pytest.mark.parametrize(
    ("hits", "trials", "score", "exact"),
    [
        (81, 263, (0.2553, 0.3662), (0.2527, 0.3676)),
        (15, 148, (0.0624, 0.1605), (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1611), (0.0, 0.1684)),
        (1, 29, (0.0061, 0.1718), (0.0009, 0.1776)),
    ],
)
def test_single_shares_newcombe_1998(
    hits: int, trials: int, score: tuple[float, float], exact: tuple[float, float]
) -> None:
    # Newcombe, Statistics in Medicine 17:857-872 (1998), table I: Wilson's interval and Clopper and Pearson's.
    assert np.allclose(wilson(hits, trials, 0.95), score, atol=5e-5)
    assert np.allclose((lower(hits, trials, 0.025), upper(hits, trials, 0.025)), exact, atol=5e-5)


def test_coverage_at_rare_events_counted_out() -> None:
    # 200 items at 0.5 %: every count there is, by its binomial chance. Wald's interval holds the rate in 63 %, Wilson's in 92 %,
    # Clopper and Pearson's in 98 % of samples: why a rate is shown with the second, promised with the third, and never told with the first.
    hits, rate = np.arange(201), 0.005
    share = hits / 200
    reach = norm.isf(0.025) * np.sqrt(share * (1 - share) / 200)
    intervals = {
        "wald": (share - reach, share + reach),
        "wilson": wilson(hits, 200, 0.95),
        "exact": (lower(hits, 200, 0.025), upper(hits, 200, 0.025)),
    }
    chance = binom.pmf(hits, 200, rate)
    covered = {name: float(chance[(low <= rate) & (rate <= high)].sum()) for name, (low, high) in intervals.items()}
    assert covered == pytest.approx({"wald": 0.6325, "wilson": 0.9202, "exact": 0.9813}, abs=5e-5)


def test_bert_on_women_and_on_gay_people_hatecheck() -> None:
    # Roettger et al., ACL 2021: of 421 cases about women BERT-D gets 34.9 % right, of 421 about gay people 73.9 %. As a gap
    # of counts: -0.449 to -0.325. One count each prints so: 147, and among 69 to 74 %, where all other groups lie, 311.
    women = [hits for hits in range(422) if round(100 * hits / 421, 1) == 34.9]
    others = range(round(0.69 * 421), round(0.74 * 421) + 1)
    fitting = [
        hits for hits in others if [round(float(one), 3) for one in newcombe(147, 421, hits, 421)] == [-0.449, -0.325]
    ]
    assert (women, fitting) == ([147], [311])
    low, high = difference_bounds(counted((147, 421), (311, 421)), [(0, 1)], 0.95)
    # The audit's own bounds count a cluster less in each group (the sample's variance over n - 1), which shows in the fourth digit.
    assert (low[0], high[0]) == pytest.approx((-0.4488, -0.3254), abs=2e-4)


def test_clip_and_classes_that_are_no_people_fairface() -> None:
    # Agarwal et al., arXiv 2108.02818: 4.9 % of "10,000 images" from FairFace, interval 4.6 to 5.4. No count of 10,000 prints so, by Wilson,
    # Clopper and Pearson or Wald. FairFace's evaluation set has 10,954 images; of those it is 542, and the interval is Wilson's.
    def printed(images: int) -> dict[str, list[int]]:
        hits = np.array([one for one in range(images) if round(100 * one / images, 1) == 4.9])
        share = hits / images
        reach = norm.isf(0.025) * np.sqrt(share * (1 - share) / images)
        found = {
            "wilson": wilson(hits, images, 0.95),
            "exact": (lower(hits, images, 0.025), upper(hits, images, 0.025)),
            "wald": (share - reach, share + reach),
        }
        return {
            name: [int(hit) for hit, *both in zip(hits, *bounds, strict=True) if percent(both) == [4.6, 5.4]]
            for name, bounds in found.items()
        }

    assert printed(10_000) == {"wilson": [], "exact": [], "wald": []}
    assert printed(10_954) == {"wilson": [542], "exact": [], "wald": []}


# The worked example of the rules of the City of New York, title 6, section 5-301 (Local Law 144): selected, applicants, impact ratio as printed.
SEX = {"male": (667, 1390, "1.00"), "female": (555, 1181, "0.979")}
RACE = {
    "hispanic": (204, 408, "0.97"), "white": (412, 797, "1.00"), "black": (170, 390, "0.84"), "pacific": (52, 119, "0.85"),
    "asian": (302, 616, "0.95"), "native": (18, 41, "0.85"), "several": (96, 213, "0.87"),
}  # fmt: skip
BOTH = {
    "hispanic men": (90, 205, "0.841"), "hispanic women": (82, 190, "0.827"), "white men": (215, 412, "1.000"), "black men": (95, 226, "0.806"),
    "pacific men": (37, 87, "0.815"), "asian men": (167, 321, "0.997"), "native men": (11, 24, "0.878"), "men of several": (52, 115, "0.866"),
    "white women": (197, 385, "0.981"), "black women": (75, 164, "0.876"), "pacific women": (15, 32, "0.898"), "asian women": (135, 295, "0.877"),
    "native women": (7, 17, "0.789"), "women of several": (44, 98, "0.860"),
}  # fmt: skip


@pytest.mark.parametrize("table", [SEX, RACE, BOTH], ids=["sex", "race", "both"])
def test_impact_ratios_local_law_144(table: dict[str, tuple[int, int, str]]) -> None:
    names, cells = list(table), counted(*((events, items) for events, items, _ in table.values()))
    most = int(np.argmax(cells.rate))
    ratios = {
        name: f"{cells.rate[place] / cells.rate[most]:.{len(table[name][2]) - 2}f}" for place, name in enumerate(names)
    }
    assert ratios == {name: printed for name, (_, _, printed) in table.items()}
    found = screen(cells)
    assert found is not None
    assert found.ratio == pytest.approx(min(cells.rate / cells.rate[most]))


def test_the_one_cell_of_local_law_144_under_four_fifths_is_no_finding() -> None:
    # 7 of 17 native women: 0.789 of the rate of white men. Its interval reaches far above 1, and fourteen equal groups of these sizes
    # would nearly always have such a cell: what the rule alone does not say.
    found = screen(counted(*((events, items) for events, items, _ in BOTH.values())))
    assert found is not None
    assert found.fires
    assert list(BOTH)[found.smallest] == "native women"
    assert found.high is not None
    assert found.high > 1.3
    assert found.by_luck > 0.9


def test_the_interval_of_a_ratio_katz_1978() -> None:
    # statsmodels 0.15, confint_proportions_2indep(170, 390, 412, 797, compare="ratio", method="log"), which is Katz et al. 1978.
    found = screen(counted((170, 390), (412, 797)))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(
        (0.7394, 0.9616), abs=5e-4
    )  # ours counts a cluster less in each group


FIRES = {
    (0.02, 1_000): (0.48, 0.99, 1.0),
    (0.05, 300): (0.54, 0.995, 1.0),
    (0.05, 1_000): (0.25, 0.92, 0.997),
    (0.05, 3_000): (0.05, 0.43, 0.79),
    (0.05, 10_000): (0.0, 0.006, 0.02),
    (0.10, 1_000): (0.10, 0.65, 0.93),
    (0.30, 1_000): (0.001, 0.02, 0.07),
}


@pytest.mark.parametrize(("rate", "size"), FIRES)
def test_how_often_four_fifths_fires_by_luck(rate: float, size: int) -> None:
    # Equal rates, in 2, 7 and 14 groups: simulated independently in the notes behind this project, printed to one percent.
    found = [chance_of_firing(rate, np.full(groups, float(size))) for groups in (2, 7, 14)]
    assert found == pytest.approx(FIRES[rate, size], abs=0.02)


@pytest.mark.parametrize(("rate", "size"), [(0.05, 300), (0.05, 1_000), (0.02, 1_000)])
def test_how_often_four_fifths_fires_by_luck_in_two_groups_counted_out(rate: float, size: int) -> None:
    # Every two counts by their chance. 12 of 300 beside 15 of 300 is four fifths, not under it; the notes' 54 % for 300 at 5 % lies between
    # what is under (52.4 %) and what is under or at it (55.2 %).
    hits = np.arange(size + 1)
    chance = np.outer(binom.pmf(hits, size, rate), binom.pmf(hits, size, rate))
    under = 5 * np.minimum.outer(hits, hits) < 4 * np.maximum.outer(hits, hits)
    expected = float(chance[under].sum())
    draws = 10_000
    low, high = binom.ppf([0.001, 0.999], draws, expected) / draws
    assert low <= chance_of_firing(rate, np.full(2, float(size))) <= high


def test_four_fifths_itself_does_not_fire() -> None:
    found = screen(counted((12, 300), (15, 300)))
    assert found is not None
    assert not found.fires


# The smallest rate beside a base rate that a two-sided test at 5 % finds with 80 % power, in percent, by how many comparisons share the error.
TESTS = (1, 6, 13, 52)
SMALLEST = {
    (0.01, 300): (4.9, 6.3, 6.9, 8.0),
    (0.01, 1_000): (2.7, 3.2, 3.5, 3.9),
    (0.01, 10_000): (1.4, 1.6, 1.6, 1.7),
    (0.05, 300): (11.2, 13.1, 13.9, 15.2),
    (0.05, 1_000): (8.1, 9.0, 9.3, 9.9),
    (0.05, 10_000): (5.9, 6.1, 6.2, 6.4),
    (0.20, 1_000): (25.2, 26.6, 27.1, 27.9),
}


def smallest(rate: float, size: int, tests: int) -> float:
    """In percent; no tolerance, as a plain test of equality has none."""
    each = np.array([float(size)])
    beside = Beside(each, each, np.array([rate]), np.zeros(1))
    return 100 * (rate + float(detectable(beside, tolerance=0.0, tests=tests, alpha=0.025)[0]))


@pytest.mark.parametrize(("rate", "size"), SMALLEST)
def test_the_smallest_difference_is_that_of_the_two_sample_test(rate: float, size: int) -> None:
    # By the pooled z test; ours looks at Newcombe's bound, which is a little sharper where events are few, and the table is rounded up.
    found = [smallest(rate, size, tests) for tests in TESTS]
    assert found == pytest.approx(SMALLEST[rate, size], abs=0.2)


@pytest.mark.parametrize(
    ("rate", "tests", "needed"), [(0.01, 1, 2_319), (0.01, 13, 4_115), (0.05, 1, 435), (0.05, 13, 772)]
)
def test_items_that_a_doubled_rate_takes(rate: float, tests: int, needed: int) -> None:
    # Fleiss, Levin and Paik (2003), formula 4.14 without its correction: 2,319 a group for 1 % against 2 %.
    assert smallest(rate, int(0.98 * needed), tests) > 200 * rate > smallest(rate, int(1.02 * needed), tests)


def test_discoveries_of_benjamini_and_hochberg_1995() -> None:
    # Their worked example, 15 hypotheses: at 5 % four are rejected, where Bonferroni's correction rejects three.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    (first, second), tests = discovered([np.array([*p[:8], np.nan]), np.array(p[8:])])
    assert tests == 15
    assert int((first <= 0.05).sum()) + int((second <= 0.05).sum()) == 4
    assert first[3] == pytest.approx(0.0095 * 15 / 4)
    assert np.isnan(first[8])


def test_the_aucs_of_jigsaws_own_test() -> None:
    # conversationai/unintended-ml-bias-analysis, model_bias_analysis_test.py: a group that scores high when harmless. Its test knows
    # 0.88, 0.88 and 1.0 to one digit; counted by hand they are 8/9, 8/9 and 9/9. Swapping the two crossed ones would show.
    scores = {
        ("other", False): (0.1, 0.2, 0.3),
        ("own", False): (0.21, 0.31, 0.55),
        ("other", True): (0.5, 0.8, 0.9),
        ("own", True): (0.4, 0.6, 0.71),
    }
    rows = [(group, target, score) for (group, target), values in scores.items() for score in values]
    sample = sample_of(
        [judged(n, group=group, target=target, score=score) for n, (group, target, score) in enumerate(rows)]
    )
    found = {one.metric: one.auc for one in rank_groups(sample, sample.groups["group"]) if one.group == "own"}
    assert found == pytest.approx({"subgroup": 8 / 9, "bpsn": 8 / 9, "bnsp": 1.0})

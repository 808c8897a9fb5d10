"""Certificates: wrong ones are as rare as promised (simulated, with an exact margin), and shortfalls tell the truth."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from moderation.compiler import bounds
from moderation.compiler import certify as certification
from moderation.compiler.certify import ScoredTarget, certify, entry_count, grid, one_per_cluster
from moderation.compiler.shortfall import Shortfall, labels_needed
from moderation.policy.lock import LockedAction

PREVALENCE = SimpleNamespace(low=0.1, high=0.2)


def promise(metric: str, at_least: float, confidence: float = 0.9, budget: float | None = None) -> Any:
    guarantee = SimpleNamespace(metric=metric, at_least=at_least, confidence=confidence)
    return SimpleNamespace(action=metric, guarantee=guarantee, budget=budget)


def squash(raw: np.ndarray) -> np.ndarray:
    return np.round(1.0 / (1.0 + np.exp(-raw)), 6)


def targets(violating: np.ndarray, benign: np.ndarray, *, per_cluster: int = 1) -> list[ScoredTarget]:
    """Raw scores as scored targets, `per_cluster` neighbours sharing a cluster."""
    made = []
    for target, scores in ((True, violating), (False, benign)):
        for score, (cluster, digest) in zip(
            squash(scores).tolist(), names(target, len(scores), per_cluster), strict=True
        ):
            made.append(ScoredTarget(score, target, cluster, digest))
    return made


@cache  # a simulation draws other scores for the same targets, and naming them takes longer than certifying
def names(target: bool, count: int, per_cluster: int) -> list[tuple[str, str]]:
    """Each target's cluster and digest."""
    return [(f"{target}{at // per_cluster}", hash_of(at)) for at in range(count)]


def hash_of(at: int) -> str:
    return f"{(at * 2654435761) % 2**32:08x}"


def raw_of(threshold: float) -> float:
    return float(np.log(threshold / (1 - threshold))) if 0 < threshold < 1 else 40.0 if threshold else -40.0


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds, each computed once for all counts: a simulation asks for the same few over and over."""

    def looked_up(bound: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        table = cache(lambda trials, alpha: bound(np.arange(trials + 1), trials, alpha))
        return lambda hits, trials, alpha: table(trials, alpha)[np.asarray(hits, int)]

    monkeypatch.setattr(certification, "lower", looked_up(bounds.lower))
    monkeypatch.setattr(certification, "upper", looked_up(bounds.upper))
    monkeypatch.setattr(certification, "grid", cache(grid))
    monkeypatch.setattr(certification, "entry_count", cache(entry_count))
    for name in ("precision_shortfall", "recall_shortfall", "budget_shortfall"):  # nobody asks here what is missing
        monkeypatch.setattr(certification, name, lambda *_, **__: Shortfall("", None, None, 0.0))


def missed(locked: LockedAction, what: Any, truth: Callable[[float], tuple[float, float]]) -> set[str]:
    """Of one certified threshold, the promises that its true rates break and the printed bounds that they lie beyond."""
    tpr, fpr = truth(raw_of(locked.threshold))
    exact = float(bounds.precision(tpr, fpr, PREVALENCE.low))
    share = float(bounds.share(tpr, fpr, PREVALENCE.high))
    shown = locked.certificate
    kept = {
        what.guarantee.metric: (exact if what.guarantee.metric == "precision" else tpr) >= what.guarantee.at_least,
        "budget": what.budget is None or share <= what.budget,
        "precision_low": exact >= shown["precision_low"],
        "tpr_lower": tpr >= shown["tpr_lower"],
        "share_upper": share <= shown["share_upper"],
    }
    return {name for name, holds in kept.items() if not holds}


PROMISED = {"precision", "recall", "budget"}


def simulate(
    draw: Callable[[np.random.Generator], list[ScoredTarget]],
    truth: Callable[[float], tuple[float, float]],
    promises: list[Any],
    runs: int,
    *,
    apart: bool = False,
) -> Counter[str]:
    """In how many runs each thing happened: a promise `found` a threshold, was broken, a bound missed, `any` promise broken.

    `apart` certifies each promise as if it were the policy's only one.
    """
    counted: Counter[str] = Counter()
    for seed in range(runs):
        scored = draw(np.random.default_rng(seed))
        policies = [[one] for one in promises] if apart else [promises]
        locked = [one for policy in policies for one in certify(scored, policy, PREVALENCE)]
        found = [(one, what) for one, what in zip(locked, promises, strict=True) if one.threshold is not None]
        wrong = set().union(*(missed(one, what, truth) for one, what in found))
        counted.update(wrong)
        counted.update({"found": bool(found), "all": len(found) == len(promises), "any": bool(wrong & PROMISED)})
    return counted


def violations(
    draw: Callable[[np.random.Generator], list[ScoredTarget]],
    truth: Callable[[float], tuple[float, float]],
    what: Any,
    runs: int,
) -> tuple[int, int]:
    """How many runs certified something, and how many of those broke their promise at the true rates."""
    counted = simulate(draw, truth, [what], runs)
    return counted["found"], counted["any"]


def gaussian(distance: float, violating: int, benign: int) -> Callable[[np.random.Generator], list[ScoredTarget]]:
    return lambda rng: targets(rng.normal(distance, 1, violating), rng.normal(0, 1, benign))


def clustered(
    distance: float, violating: int, benign: int, *, size: int, apart: bool
) -> Callable[..., list[ScoredTarget]]:
    """Objects whose pictures are alike (most of the variance is the object's); `apart` calls each picture its own cluster."""

    def side(rng: np.random.Generator, mean: float, count: int) -> np.ndarray:
        return mean + np.repeat(rng.normal(0, 0.95, count), size) + rng.normal(0, np.sqrt(1 - 0.95**2), count * size)

    def draw(rng: np.random.Generator) -> list[ScoredTarget]:
        return targets(side(rng, distance, violating), side(rng, 0.0, benign), per_cluster=1 if apart else size)

    return draw


def rates(distance: float) -> Callable[[float], tuple[float, float]]:
    return lambda cut: (float(norm.sf(cut - distance)), float(norm.sf(cut)))


def no_worse_than_nominal(broken: int, runs: int, alpha: float) -> bool:
    """Whether so many broken promises are no sign (p > 0.001, exact) of a rate above alpha."""
    return binomtest(broken, runs, alpha, alternative="greater").pvalue > 0.001


SIZES = [("precision", 0.8, 2.8), ("recall", 0.85, 2.8)]


@pytest.mark.parametrize(("metric", "at_least", "distance"), SIZES)
def test_promises_are_broken_no_oftener_than_stated(metric: str, at_least: float, distance: float) -> None:
    what, runs = promise(metric, at_least), 250
    found, broken = violations(gaussian(distance, 60, 800), rates(distance), what, runs)
    assert found > runs / 2  # or nothing was tried
    assert no_worse_than_nominal(broken, runs, 0.1)


@pytest.mark.parametrize(("metric", "at_least", "distance"), SIZES)
def test_clusters_keep_the_promise_where_counting_pictures_breaks_it(
    metric: str, at_least: float, distance: float
) -> None:
    what, runs = promise(metric, at_least), 200
    broken = {
        apart: violations(clustered(distance, 50, 600, size=8, apart=apart), rates(distance), what, runs)[1]
        for apart in (False, True)
    }
    assert no_worse_than_nominal(broken[False], runs, 0.1)
    # The naive bound, over pictures of one object as if they were independent, is above its level beyond doubt.
    assert not no_worse_than_nominal(broken[True], runs, 0.1)


def tied(violating: int, benign: int) -> Callable[[np.random.Generator], list[ScoredTarget]]:
    """Scores of six values only; most that violates has the highest."""
    values = np.array([-3.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    shares = ([0.1, 0.03, 0.02, 0.02, 0.02, 0.81], [0.9, 0.02, 0.02, 0.02, 0.02, 0.02])
    return lambda rng: targets(*(rng.choice(values, n, p=p) for n, p in zip((violating, benign), shares, strict=True)))


def tied_rates(cut: float) -> tuple[float, float]:
    """The true rates of `tied`; a cut is a value up to rounding."""
    at = np.round(cut)
    tpr = sum(share for value, share in {-3: 0.1, 0: 0.03, 1: 0.02, 2: 0.02, 3: 0.02, 4: 0.81}.items() if value >= at)
    return tpr, 0.02 * (5 - max(at, 0)) + 0.9 * (at <= -3)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(("metric", "at_least", "distance"), SIZES)
def test_without_ties_no_printed_bound_is_missed_oftener_than_stated(
    metric: str, at_least: float, distance: float
) -> None:
    runs = 1000
    counted = simulate(gaussian(distance, 60, 400), rates(distance), [promise(metric, at_least)], runs)
    assert counted["found"] > runs / 2
    for bound in (
        ("precision_low", "tpr_lower", "share_upper") if metric == "precision" else ("tpr_lower", "share_upper")
    ):
        assert no_worse_than_nominal(counted[bound], runs, 0.1), bound


@pytest.mark.usefixtures("tables")
def test_with_ties_a_printed_bound_is_missed_but_not_the_promise_which_is_why_it_is_called_an_estimate() -> None:
    runs = 3000
    counted = simulate(tied(60, 100), tied_rates, [promise("recall", 0.85)], runs)
    assert counted["found"] == runs
    assert not no_worse_than_nominal(counted["tpr_lower"], runs, 0.1)
    assert no_worse_than_nominal(counted["any"], runs, 0.1)


JOINT = [promise("precision", 0.8), promise("recall", 0.85, budget=0.45)]


def unequal(distance: float, violating: int, benign: int) -> Callable[[np.random.Generator], list[ScoredTarget]]:
    """Objects of one picture, and three in ten of six that are alike and score half a deviation higher."""

    def side(rng: np.random.Generator, target: bool, count: int) -> list[ScoredTarget]:
        many = rng.random(count) < 0.3
        cluster = np.repeat(np.arange(count), np.where(many, 6, 1))
        raw = rng.normal(0, 0.95, count)[cluster] + rng.normal(0, np.sqrt(1 - 0.95**2), len(cluster))
        scores = squash(raw + distance * target + 0.5 * many[cluster]).tolist()
        return [
            ScoredTarget(score, target, NAMES[target][at], DIGESTS[row])
            for row, (score, at) in enumerate(zip(scores, cluster.tolist(), strict=True))
        ]

    return lambda rng: side(rng, True, violating) + side(rng, False, benign)


NAMES = {side: [f"{side}{at}" for at in range(4000)] for side in (True, False)}
DIGESTS = [hash_of(at) for at in range(24000)]


def unequal_rates(distance: float) -> Callable[[float], tuple[float, float]]:
    """The true rates of objects: one of an object's pictures is as good as another."""
    tail = lambda cut: float(0.7 * norm.sf(cut) + 0.3 * norm.sf(cut - 0.5))  # noqa: E731
    return lambda cut: (tail(cut - distance), tail(cut))


def holds_together(broken: int, runs: int) -> bool:
    """Whether so many runs with any broken promise are no sign (p > 0.01, exact) of more than 10 %."""
    return binomtest(broken, runs, 0.1, alternative="greater").pvalue > 0.01


@pytest.mark.usefixtures("tables")
def test_the_promises_of_one_policy_hold_together() -> None:
    runs = 1500
    assert not holds_together(round(0.15 * runs), runs)  # strong enough to notice 15 %
    counted = simulate(unequal(2.8, 60, 400), unequal_rates(2.8), JOINT, runs)
    assert counted["all"] > runs / 3
    assert holds_together(counted["any"], runs)


@pytest.mark.usefixtures("tables")
def test_two_tight_promises_hold_together_and_would_not_if_each_took_the_whole_error() -> None:
    runs, promises = 1500, [promise("recall", 0.85), promise("recall", 0.5)]
    draw, truth = unequal(2.8, 60, 50), unequal_rates(2.8)
    assert holds_together(simulate(draw, truth, promises, runs)["any"], runs)
    assert not holds_together(simulate(draw, truth, promises, runs, apart=True)["any"], runs)


@pytest.mark.soak
@pytest.mark.parametrize("counts", [(60, 400), (100, 1500), (200, 4000)])
@pytest.mark.parametrize(("distance", "budget"), [(2.8, 0.45), (2.2, 0.5), (1.8, 0.6)])
def test_soak_the_promises_of_one_policy_hold_together(
    counts: tuple[int, int], distance: float, budget: float, tables: None
) -> None:
    runs = int(os.environ.get("SOAK_RUNS", "4000"))
    promises = [promise("precision", 0.8), promise("recall", 0.85, budget=budget)]
    counted = simulate(unequal(distance, *counts), unequal_rates(distance), promises, runs)
    assert holds_together(counted["any"], runs)


@pytest.mark.soak
@pytest.mark.parametrize(("metric", "at_least", "distance"), SIZES)
@pytest.mark.parametrize("counts", [(20, 200), (60, 800), (200, 4000)])
def test_soak_promises_are_broken_no_oftener_than_stated(
    metric: str, at_least: float, distance: float, counts: tuple[int, int]
) -> None:
    runs = int(os.environ.get("SOAK_RUNS", "4000"))
    draws = [gaussian(distance, *counts), clustered(distance, *counts, size=5, apart=False)]
    for draw in draws:
        _, broken = violations(draw, rates(distance), promise(metric, at_least), runs)
        assert no_worse_than_nominal(broken, runs, 0.1)


def test_the_bounds_are_clopper_pearsons() -> None:
    for hits, trials in ((0, 10), (3, 10), (10, 10), (1, 1), (0, 1), (59, 60)):
        exact = binomtest(hits, trials, alternative="two-sided").proportion_ci(0.9, "exact")
        assert float(bounds.lower(hits, trials, 0.05)) == pytest.approx(exact.low, abs=1e-9)
        assert float(bounds.upper(hits, trials, 0.05)) == pytest.approx(exact.high, abs=1e-9)
    assert (float(bounds.lower(0, 0, 0.05)), float(bounds.upper(0, 0, 0.05))) == (0.0, 1.0)


def test_precision_is_bounded_at_the_low_end_of_the_prevalence() -> None:
    (locked,) = certify(gaussian(4, 100, 2000)(np.random.default_rng(0)), [promise("precision", 0.9)], PREVALENCE)
    shown = locked.certificate
    assert shown is not None
    assert 0.9 <= shown["precision_low"] < shown["precision_high"]
    assert shown["precision_low"] == pytest.approx(float(bounds.precision(shown["tpr_lower"], shown["fpr_upper"], 0.1)))
    assert (shown["violating"], shown["benign"], shown["guarantees"]) == (100, 2000, 1)
    assert shown["start"] >= locked.threshold
    assert locked.threshold in grid()


def test_guarantees_share_the_error() -> None:
    made = gaussian(4, 100, 2000)(np.random.default_rng(0))
    both = certify(made, [promise("precision", 0.9), promise("recall", 0.9)], PREVALENCE)
    (alone,) = certify(made, [promise("precision", 0.9)], PREVALENCE)
    assert [one.certificate["alpha"] for one in both] == pytest.approx([0.05, 0.05])
    assert alone.certificate["alpha"] == pytest.approx(0.1)
    assert both[0].threshold >= alone.threshold


def exactly(*groups: tuple[bool, float, int]) -> list[ScoredTarget]:
    """Independent targets of a few scores: class, score and how many."""
    names = [(target, score, f"{target} {score} {at}") for target, score, count in groups for at in range(count)]
    return [ScoredTarget(score, target, name, name) for target, score, name in names]


@pytest.mark.parametrize(("budget", "threshold"), [(None, 0.740775), (0.99, 0.740775), (0.3, 0.768525), (0.21, None)])
def test_a_budget_moves_the_cut_of_a_precision_promise_or_leaves_none(
    budget: float | None, threshold: float | None
) -> None:
    made = gaussian(4, 100, 2000)(np.random.default_rng(0))
    (locked,) = certify(made, [promise("precision", 0.4, budget=budget)], PREVALENCE)
    assert locked.threshold == threshold
    assert threshold is None or locked.certificate["share_upper"] <= (budget or 1.0)
    assert threshold is not None or "the budget is 0.21" in locked.shortfall["reason"]


@pytest.mark.parametrize("metric", ["precision", "recall"])
def test_a_budget_holds_at_the_high_end_of_the_prevalence(metric: str) -> None:
    made = exactly((True, 0.9, 100), (False, 0.0, 1000))
    # Of 1,000 benign targets none is flagged: with 95 % confidence less than 0.3 % are, beside the violating fifth.
    certain = PREVALENCE.high + (1 - PREVALENCE.high) * (1 - 0.05 ** (1 / 1000))
    (within,) = certify(made, [promise(metric, 0.8, budget=certain + 1e-6)], PREVALENCE)
    (beyond,) = certify(made, [promise(metric, 0.8, budget=certain - 1e-6)], PREVALENCE)
    assert within.certificate["share_upper"] == pytest.approx(certain)
    assert f"may take {certain:.4f} of the traffic" in beyond.shortfall["reason"]


def test_a_budget_is_a_second_promise_and_takes_half_of_its_guarantees_error() -> None:
    made = gaussian(4, 100, 2000)(np.random.default_rng(0))
    promises = [promise(metric, 0.8, budget=budget) for metric in ("precision", "recall") for budget in (None, 0.9)]
    alphas = [one.certificate["alpha"] for one in certify(made, promises, PREVALENCE)]
    assert alphas == pytest.approx([0.025, 0.0125, 0.025, 0.0125])


JUST_HALF = [promise("precision", 0.5)]


def test_the_sequence_stops_at_the_first_threshold_that_fails() -> None:
    strict, lenient = (True, 0.9, 100), (True, 0.5, 100)
    (locked,) = certify(exactly(strict, (False, 0.7, 60), lenient, (False, 0.0, 940)), JUST_HALF, PREVALENCE)
    assert 0.7 < locked.threshold < 0.701
    assert locked.certificate["sequence_length"] == 2
    # The same targets above 0.5, and no failure on the way there.
    (locked,) = certify(exactly(strict, (False, 0.5, 60), lenient, (False, 0.0, 940)), JUST_HALF, PREVALENCE)
    assert locked.threshold < 0.5


def test_a_sequence_that_fails_at_its_start_certifies_nothing_however_good_a_later_threshold() -> None:
    made = exactly((False, 0.9, 60), (True, 0.5, 200), (False, 0.0, 940))
    (locked,) = certify(made, JUST_HALF, PREVALENCE)
    assert locked.threshold is None
    assert locked.shortfall["best_bound"] > 0.5
    assert "failed at its start" in locked.shortfall["reason"]


def test_fewer_benign_targets_than_the_start_allows_count_as_so_many() -> None:
    assert entry_count(100, 1000, 0.8, 0.1, alpha=0.1) == 1
    few, enough = (exactly((True, 0.9, n), (True, 0.0, 100 - n), (False, 0.0, 1000)) for n in (20, 25))
    (locked,) = certify(few, [promise("precision", 0.8)], PREVALENCE)
    assert locked.threshold is None
    assert locked.shortfall["best_bound"] > 0.8  # with none above the cut, as there is
    (locked,) = certify(enough, [promise("precision", 0.8)], PREVALENCE)
    assert locked.certificate["flagged_benign"] == 0
    assert locked.certificate["fpr_upper"] == pytest.approx(float(bounds.upper(1, 1000, 0.075)))


def test_one_target_per_cluster_is_chosen_by_digest() -> None:
    made = [
        ScoredTarget(0.9, True, "gun", "b"),
        ScoredTarget(0.1, True, "gun", "a"),
        ScoredTarget(0.7, False, "gun", "c"),
        ScoredTarget(0.3, False, "toy", "d"),
    ]
    for order in (made, made[::-1]):
        sides = one_per_cluster(order)
        assert sides.violating.tolist() == [0.1]
        assert sides.benign.tolist() == [0.3]
        assert (len(sides.all_violating), len(sides.all_benign)) == (2, 2)


def test_the_sequence_starts_without_looking_at_a_score() -> None:
    assert entry_count(60, 2000, 0.8, 0.1, alpha=0.1) == entry_count(60, 2000, 0.8, 0.1, alpha=0.1) > 0
    assert entry_count(60, 100, 0.9, 0.01, alpha=0.05) == 0  # not even none would do: the strictest start is left


@pytest.mark.parametrize("metric", ["precision", "recall"])
@pytest.mark.parametrize(
    ("violating", "benign"),
    [([], []), ([], [0.0] * 50), ([1.0], []), ([1.0], [0.0]), ([0.0] * 60, [0.0] * 900), ([40.0] * 60, [40.0] * 900)],
    ids=["nothing", "no violating", "no benign", "one each", "all ties", "all at the top"],
)
def test_poor_evidence_certifies_no_precision_and_no_recall_within_a_budget(
    metric: str, violating: list[float], benign: list[float]
) -> None:
    made = targets(np.array(violating), np.array(benign))
    (locked,) = certify(made, [promise(metric, 0.8, budget=0.3)], PREVALENCE)
    assert locked.threshold is None
    assert locked.certificate is None
    assert locked.shortfall["reason"]


def test_a_shortfall_names_numbers_that_do() -> None:
    rng, what = np.random.default_rng(3), [promise("precision", 0.8)]
    few = gaussian(3, 25, 150)(rng)
    (locked,) = certify(few, what, PREVALENCE)
    short = locked.shortfall
    assert short is not None
    assert short["more_violating"] + short["more_benign"] > 0
    enough = gaussian(3, 25 + 2 * short["more_violating"], 150 + 2 * short["more_benign"])(rng)
    assert certify(enough, what, PREVALENCE)[0].threshold is not None


def test_a_broken_budget_is_kept_at_a_stricter_cut_once_more_violating_targets_show_the_recall_there() -> None:
    rng, what = np.random.default_rng(3), [promise("recall", 0.6, budget=0.35)]
    (locked,) = certify(gaussian(1.8, 12, 400)(rng), what, PREVALENCE)
    short = locked.shortfall
    assert "but may take" in short["reason"]
    assert "no number" not in short["reason"]  # though none would at the one cut where 12 targets show the recall
    assert short["more_violating"] > 0
    enough = gaussian(1.8, 12 + 2 * short["more_violating"], 400 + 2 * short["more_benign"])(rng)
    assert certify(enough, what, PREVALENCE)[0].threshold is not None


def test_no_number_keeps_a_budget_that_the_rates_break_at_every_cut() -> None:
    (locked,) = certify(
        gaussian(0.1, 200, 3000)(np.random.default_rng(1)), [promise("recall", 0.6, budget=0.2)], PREVALENCE
    )
    assert locked.shortfall["more_violating"] is None
    assert "no number of targets will do" in locked.shortfall["reason"]


def test_no_number_will_do_where_the_rate_itself_is_too_low() -> None:
    (locked,) = certify(gaussian(0.3, 200, 3000)(np.random.default_rng(1)), [promise("precision", 0.9)], PREVALENCE)
    assert locked.shortfall["more_violating"] is None
    assert "no number of targets will do" in locked.shortfall["reason"]


def test_recall_says_how_many_violating_targets_it_needs() -> None:
    (locked,) = certify(gaussian(3, 10, 100)(np.random.default_rng(1)), [promise("recall", 0.9)], PREVALENCE)
    assert (locked.shortfall["more_violating"], locked.shortfall["more_benign"]) == (12, 0)
    assert labels_needed("recall", 0.9, 0.9, 0.1).violating == 22
    (alone,) = certify(gaussian(3, 1, 100)(np.random.default_rng(1)), [promise("recall", 0.9)], PREVALENCE)
    assert alone.shortfall["reason"].startswith("1 violating cluster can show a recall of 0.100 at most; 0.9 needs 22")
    (locked,) = certify(gaussian(3, 22, 100)(np.random.default_rng(1)), [promise("recall", 0.9)], PREVALENCE)
    assert locked.threshold is not None


def test_a_budget_that_recall_breaks_ends_in_a_trade_off() -> None:
    made = gaussian(1, 80, 1500)(np.random.default_rng(1))
    (locked,) = certify(made, [promise("recall", 0.9, budget=0.25)], PREVALENCE)
    short = locked.shortfall
    assert locked.threshold is None
    assert "budget" in short["reason"]
    recalls = [point["recall_lower"] for point in short["trade_off"]]
    shares = [point["share_upper"] for point in short["trade_off"]]
    assert recalls == sorted(recalls, reverse=True)
    assert shares == sorted(shares, reverse=True)
    assert 10 <= len(shares) <= 12
    asked = [point for point in short["trade_off"] if point["recall_lower"] >= 0.9]
    assert min(point["share_upper"] for point in asked) > 0.25
    for point in short["trade_off"]:
        flagged = sum(one.score >= point["threshold"] for one in made)
        assert flagged == point["flagged_violating"] + point["flagged_benign"]
    assert certify(made, [promise("recall", 0.9, budget=0.99)], PREVALENCE)[0].threshold is not None


def test_labels_needed_can_certify_and_fewer_cannot() -> None:
    need = labels_needed("precision", 0.9, 0.95, 0.1, recall=1.0)
    assert need is not None
    for scale, expected in ((1.0, True), (0.5, False)):
        made = targets(np.full(int(need.violating * scale), 9.0), np.full(int(need.benign * scale), -9.0))
        assert (certify(made, [promise("precision", 0.9, 0.95)], PREVALENCE)[0].threshold is not None) is expected


def test_at_prevalence_zero_the_answer_is_that_no_number_will_do() -> None:
    assert labels_needed("precision", 0.9, 0.95, 0.0) is None
    made = [ScoredTarget(0.9, True, "a", "a")]
    (action,) = certify(made, [promise("precision", 0.9)], SimpleNamespace(low=0.0, high=0.1))
    assert action.threshold is None
    assert action.shortfall["more_benign"] is None


def test_a_score_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        certify([ScoredTarget(1.2, True, "a", "b")], [promise("recall", 0.9)], PREVALENCE)

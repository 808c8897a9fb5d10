"""How often an audit calls a failure where there is none, and how often it finds a planted gap of the size that it says it can detect.

    python benchmarks/false_alarms.py [--runs 400] [--json]

Every run is a whole family of declared harms on made items: groups, targets, decisions and clusters as drawn, through the very code that gives
verdicts. Beside it stand what is often done instead: a chi-squared test of items for each harm, not corrected, and the four-fifths rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2_contingency

from moderation.audit.gaps import Verdict
from moderation.audit.harms import assess_harms, measure
from moderation.audit.result import HarmResult
from moderation.audit.sample import UNKNOWN, Groups, Sample
from moderation.compiler.bounds import lower, upper
from moderation.policy.audit_block import Audit

ORDER = ("allow", "review")
TOLERANCE = 0.001  # next to nothing is tolerated, so that any failure of equal groups is a false alarm
POWER_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Design:
    """One way to draw an audit: `groups` of each attribute, items, clusters, and how far clusters differ (in log-odds).

    `mixed` is the share of clusters that hold all groups, as a template filled with each term does; the others are of one group, as an author is.
    """

    name: str
    groups: tuple[int, ...]
    clusters: int
    each: int
    spread: float
    mixed: float
    rate: float
    harms: tuple[str, ...] = ("fpr", "fnr")

    @property
    def family(self) -> int:
        return len(self.groups) * len(self.harms)


NULL = (
    Design("2 groups, single items", (2,), 1_200, 1, 0.0, mixed=0.0, rate=0.05),
    Design("7 and 3 groups, single items", (7, 3), 4_200, 1, 0.0, mixed=0.0, rate=0.05),
    Design("2 and 3 groups in 60 templates of 20", (2, 3), 60, 20, 1.5, mixed=1.0, rate=0.2),
    Design("3 groups of authors with 1 to 40 items", (3,), 240, 20, 1.0, mixed=0.0, rate=0.1),
    Design("2 groups in 400 sets of 4, one in 20 mixes", (2,), 400, 4, 1.0, mixed=0.05, rate=0.1),
)
PLANTED = (
    Design("2 groups of 600 single items", (2,), 1_200, 1, 0.0, mixed=0.0, rate=0.05, harms=("fpr",)),
    Design("5 groups of 400 single items", (5,), 2_000, 1, 0.0, mixed=0.0, rate=0.1, harms=("fpr",)),
    Design("2 groups in 120 templates of 10", (2,), 120, 10, 1.0, mixed=1.0, rate=0.2, harms=("fpr",)),
    Design("2 groups of 120 authors with 1 to 20 items", (2,), 240, 10, 0.7, mixed=0.0, rate=0.1, harms=("fpr",)),
    Design("2 groups in 400 sets of 4, one in 20 mixes", (2,), 400, 4, 0.7, mixed=0.05, rate=0.1, harms=("fpr",)),
)


def draw(design: Design, seed: int, *, gap: float = 0.0) -> Sample:
    """One audit's items. With `gap`, the first group of the first attribute has a rate that much higher."""
    random = np.random.default_rng(seed)
    sizes = np.full(design.clusters, design.each)
    if design.each > 1 and not design.mixed:
        sizes = random.integers(1, 2 * design.each, design.clusters)
    cluster = np.repeat(np.arange(design.clusters), sizes)
    codes = [_codes(random, cluster, sizes, count, design) for count in design.groups]
    shift = random.normal(0.0, design.spread, design.clusters)[cluster] if design.spread else np.zeros(len(cluster))
    odds = np.where(codes[0] == 0, _odds(design.rate + gap, design.spread), _odds(design.rate, design.spread)) + shift
    wrong = random.random(len(cluster)) < 1.0 / (1.0 + np.exp(-odds))
    target = random.random(design.clusters)[cluster] < (0.5 if "fnr" in design.harms else 0.0)
    force = (wrong != target).astype(np.int64)  # wrong of a benign item is to act on it, of a violating one not to
    groups = {
        f"attribute{place}": Groups(f"attribute{place}", tuple(f"g{n}" for n in range(count)), found)
        for place, (count, found) in enumerate(zip(design.groups, codes, strict=True))
    }
    nothing: dict[str, Any] = {"excluded": {}, "lost": {name: {} for name in groups}, "stated": tuple(groups)}
    unknown = np.full(len(cluster), UNKNOWN, np.int64)
    ids = tuple(map(str, range(len(cluster))))
    weight = np.ones(len(cluster))
    return Sample(ids, force * 1.0, target, force, force > 0, cluster, unknown, weight, groups, **nothing)


def block(design: Design, tolerance: float) -> Audit:
    """What is declared: every harm in every attribute."""
    harms = [
        {"name": one, "metric": one, "tolerance": tolerance, "set_by": "us", "why": "a test"} for one in design.harms
    ]
    names = [{"name": f"attribute{n}", "about": "depicted", "source": "made"} for n in range(len(design.groups))]
    return Audit.model_validate({"attributes": names, "harms": harms}, strict=False)


def false_alarms(design: Design, runs: int) -> dict[str, Any]:
    """Of audits of equal groups, the shares that call a failure: ours, a chi-squared test of items, the four-fifths rule."""
    declared = block(design, TOLERANCE)
    counts = {"ours": 0, "items": 0, "four_fifths": 0}
    for seed in range(runs):
        sample = draw(design, seed)
        found = assess_harms(declared, sample, order=ORDER, seed=seed)
        counts["ours"] += any(one.verdict is Verdict.FAIL for one in found)
        counts["items"] += any(_chi_squared(sample, declared, place) < 0.05 for place in range(len(found)))
        counts["four_fifths"] += any(one.four_fifths is not None and one.four_fifths.fires for one in found)
    return {
        "design": design.name,
        "family": design.family,
        "runs": runs,
        **{name: _share(count, runs) for name, count in counts.items()},
    }


def power(design: Design, runs: int) -> dict[str, Any]:
    """Of audits with a planted gap, the share that fails: the gap is what audits of equal groups say they would detect, on average."""
    declared = block(design, POWER_TOLERANCE)

    def results(gap: float, seeds: Sequence[int]) -> list[HarmResult]:
        return [assess_harms(declared, draw(design, seed, gap=gap), order=ORDER, seed=seed)[0] for seed in seeds]

    gap = float(np.mean([one.cells[0].detectable for one in results(0.0, range(10_000, 10_040))]))
    failed = sum(one.verdict is Verdict.FAIL for one in results(gap, range(runs)))
    half = sum(one.verdict is Verdict.FAIL for one in results(gap / 2.0, range(runs)))
    return {
        "design": design.name,
        "gap": round(gap, 4),
        "runs": runs,
        "found": _share(failed, runs),
        "half": _share(half, runs),
    }


def _codes(
    random: np.random.Generator, cluster: NDArray[np.int64], sizes: NDArray[np.int64], count: int, design: Design
) -> NDArray[np.int64]:
    mixes, codes = cluster < design.mixed * len(sizes), np.zeros(len(cluster), np.int64)
    if not mixes.all():
        codes = random.permutation(np.arange(len(sizes)) % count)[cluster]
    if mixes.any():
        codes = np.where(mixes, np.concatenate([random.permutation(np.arange(size) % count) for size in sizes]), codes)
    return codes.astype(np.int64)


def _odds(rate: float, spread: float) -> float:
    """The log-odds whose mean over clusters is this rate."""
    points, weights = np.polynomial.hermite_e.hermegauss(40)

    def mean(odds: float) -> float:
        return float((weights / (1.0 + np.exp(-(odds + spread * points)))).sum() / weights.sum())

    return float(brentq(lambda odds: mean(odds) - rate, -20.0, 20.0))


def _chi_squared(sample: Sample, declared: Audit, place: int) -> float:
    """The p value of one harm in one attribute as if items were independent."""
    harm = declared.harms[place // len(declared.attributes)]
    codes = sample.groups[declared.attributes[place % len(declared.attributes)].name].codes
    counted = measure(harm, sample, ORDER)
    table = np.zeros((2, int(codes.max()) + 1))
    np.add.at(table, (counted.event[counted.eligible].astype(int), codes[counted.eligible]), 1)
    return float(chi2_contingency(table, correction=False).pvalue) if table.sum(axis=1).all() else 1.0


def _share(count: int, runs: int) -> dict[str, float]:
    return {"share": count / runs, "low": float(lower(count, runs, 0.025)), "high": float(upper(count, runs, 0.025))}


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    told = {
        "runs": arguments.runs,
        "false_alarms": [false_alarms(one, arguments.runs) for one in NULL],
        "power": [power(one, arguments.runs) for one in PLANTED],
    }
    print(json.dumps(told) if arguments.json else "\n".join(_lines(told)))


def _lines(told: dict[str, Any]) -> list[str]:
    def percent(one: dict[str, float]) -> str:
        return f"{one['share']:.1%} ({one['low']:.1%} to {one['high']:.1%})"

    lines = [
        f"{told['runs']} audits a row; with exact 95 % intervals",
        "",
        "equal groups | tests | fails | items as independent | four-fifths",
    ]
    lines += [
        f"{one['design']} | {one['family']} | {percent(one['ours'])} | {percent(one['items'])} | {percent(one['four_fifths'])}"
        for one in told["false_alarms"]
    ]
    lines += ["", "planted gap | gap | found | half of it found"]
    lines += [
        f"{one['design']} | {one['gap']:.3f} | {percent(one['found'])} | {percent(one['half'])}"
        for one in told["power"]
    ]
    return lines


if __name__ == "__main__":
    main()

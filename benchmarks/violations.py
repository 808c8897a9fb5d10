"""How often a threshold that was chosen on a sample of targets breaks its promise of precision: ours, and the naive pick.

Naive is what is done without this package: the lowest threshold whose measured precision, at the stated prevalence, reaches
the target. Ours is `certify`. In each run both see the same sample, and both are held against the truth:

- simulated: two Gaussians 2.8 standard deviations apart; the truth is computed.
- resampled: the certify targets of shipped policies, compiled and scored here by the pipeline as `moderation policy certify`
  scores them, one target a cluster. The targets are taken for the whole population, whose precision at a threshold is known;
  each run draws as many of each class from it, with replacement.

    python benchmarks/violations.py [--runs 400] [--policies weapons fire] [--json]

Reported: share of runs in which the true precision is below the target, with its exact 95 % interval (`promised`: what certify allows at
most); share in which a threshold was found; mean true recall where one was. `--most N` takes about N targets of a policy.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from moderation import assemble
from moderation.compiler.bounds import lower, precision, upper
from moderation.compiler.certify import ScoredTarget, certify, one_per_cluster
from moderation.compiler.compile import compile_policy
from moderation.policy.loader import load_policy
from moderation.policy.lock import lock_path, write_lock
from moderation.policy.manifest import load_manifest
from moderation.release.certification import score_targets
from moderation.settings import load_settings

POLICIES = Path(__file__).resolve().parents[1] / "policies"
DISTANCE = 2.8
CONFIDENCE = 0.95
SIMULATED = (
    (200, 1_800, 0.1, 0.9),
    (500, 9_500, 0.05, 0.9),
    (500, 9_500, 0.05, 0.95),
)  # targets, prevalence, precision
# Of the best precision of a threshold that finds a tenth of the population: asked for where the policy promises more.
REACHED = 0.5

Scores = NDArray[np.float64]
Rates = Callable[[float], tuple[float, float]]  # a threshold's true rates: of violating and of benign objects flagged


@dataclass(frozen=True, slots=True)
class Case:
    """Where samples come from: `draw` gives violating and benign scores, `rates` the truth."""

    name: str
    violating: int
    benign: int
    prevalence: float
    at_least: float
    draw: Callable[[np.random.Generator], tuple[Scores, Scores]]
    rates: Rates


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one way of picking in one case; shares are of all runs."""

    case: str
    violating: int
    benign: int
    prevalence: float
    at_least: float
    way: str
    violated: float
    violated_low: float
    violated_high: float
    promised: float | None
    found: float
    recall: float | None


def main() -> None:
    """Runs every case, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--policies", nargs="*", default=["weapons", "fire"])
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = [simulated(*one) for one in SIMULATED]
    cases += [resampled(POLICIES / f"{name}.yaml", options.most) for name in options.policies]
    rows = [row for case in cases for row in measure(case, options.runs)]
    if options.json:
        print(json.dumps({"runs": options.runs, "confidence": CONFIDENCE, "rows": [asdict(row) for row in rows]}))
        return
    print(
        f"{'case':10} {'targets':>11} {'prevalence':>10} {'precision':>9}  way    below target (95 %)     found  recall"
    )
    for row in rows:
        interval = f"{row.violated:6.1%} ({row.violated_low:.1%} to {row.violated_high:.1%})"
        recall = "none" if row.recall is None else f"{row.recall:.3f}"
        targets = f"{row.violating}+{row.benign}"
        print(
            f"{row.case:10} {targets:>11} {row.prevalence:10.3f} {row.at_least:9.3f}  {row.way:5}  {interval:23} "
            f"{row.found:6.1%}  {recall}"
        )


def simulated(violating: int, benign: int, prevalence: float, at_least: float) -> Case:
    """Gaussian margins, squashed as a head squashes them."""

    def draw(rng: np.random.Generator) -> tuple[Scores, Scores]:
        return squash(rng.normal(DISTANCE, 1.0, violating)), squash(rng.normal(0.0, 1.0, benign))

    def rates(cut: float) -> tuple[float, float]:
        raw = np.log(cut / (1.0 - cut)) if 0.0 < cut < 1.0 else np.inf if cut else -np.inf
        return float(norm.sf(raw - DISTANCE)), float(norm.sf(raw))

    return Case("simulated", violating, benign, prevalence, at_least, draw, rates)


def resampled(path: Path, most: int) -> Case:
    """Draws from a policy's certify targets, as scored; the promise is the policy's first of precision, where this population can keep it."""
    violating, benign = scored(path, most)
    policy = load_policy(path, action_names=load_settings().actions)
    prevalence = policy.prevalence.low
    promises = [one.guarantee.at_least for one in policy.actions if one.guarantee.metric == "precision"]
    levels = np.unique(violating)
    true, false = (1.0 - np.searchsorted(side, levels) / len(side) for side in (violating, benign))
    best = float(precision(true, false, prevalence)[true >= 0.1].max())
    at_least = min([*promises[:1], round(REACHED * best, 3)])

    def draw(rng: np.random.Generator) -> tuple[Scores, Scores]:
        return rng.choice(violating, len(violating)), rng.choice(benign, len(benign))

    def rates(cut: float) -> tuple[float, float]:
        return float((violating >= cut).mean()), float((benign >= cut).mean())

    return Case(path.stem, len(violating), len(benign), prevalence, at_least, draw, rates)


def scored(path: Path, most: int) -> tuple[Scores, Scores]:
    """Scores of a policy's certify targets by class, ascending, one a cluster."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    if policy.data.certify is None:
        raise SystemExit(f"{path}: expected a policy with data.certify")
    rows = load_manifest(policy.data.certify)
    fit = load_manifest(policy.data.fit) if policy.data.fit else ()
    background = load_manifest(POLICIES / "data" / "background.jsonl")
    if most:
        sides = [[row for row in rows if row.target is side] for side in (True, False)]
        rows = tuple(row for side in sides for row in side[:: max(1, 2 * len(side) // most)])
        fit = ()
    with tempfile.TemporaryDirectory() as folder:
        place = lock_path(Path(folder), policy.id)
        write_lock(compile_policy(policy, assemble.embedder(settings), fit=fit, background=background), place)
        targets = score_targets(policy, rows, assemble.pipeline(settings, [place]))
    sides_found = one_per_cluster(targets)
    return sides_found.violating, sides_found.benign


def measure(case: Case, runs: int) -> list[Row]:
    """Both ways over the same runs."""
    cuts: dict[str, list[float | None]] = {"naive": [], "ours": []}
    for seed in range(runs):
        violating, benign = case.draw(np.random.default_rng(seed))
        cuts["naive"].append(naive(violating, benign, case.prevalence, case.at_least))
        cuts["ours"].append(ours(violating, benign, case.prevalence, case.at_least))
    return [summarised(case, way, found) for way, found in cuts.items()]


def naive(violating: Scores, benign: Scores, prevalence: float, at_least: float) -> float | None:
    """The lowest score of the sample whose measured precision reaches the target."""
    levels = np.unique(np.concatenate([violating, benign]))
    true, false = (1.0 - np.searchsorted(np.sort(side), levels) / len(side) for side in (violating, benign))
    enough = np.nonzero(precision(true, false, prevalence) >= at_least)[0]
    return float(levels[enough[0]]) if len(enough) else None


def ours(violating: Scores, benign: Scores, prevalence: float, at_least: float) -> float | None:
    """What certify promises this precision for."""
    sides = [(score, True) for score in violating.tolist()] + [(score, False) for score in benign.tolist()]
    targets = [ScoredTarget(score, target, str(at), f"{at:08x}") for at, (score, target) in enumerate(sides)]
    guarantee = SimpleNamespace(metric="precision", at_least=at_least, confidence=CONFIDENCE)
    promise: Any = SimpleNamespace(action="remove", guarantee=guarantee, budget=None)
    interval: Any = SimpleNamespace(low=prevalence, high=prevalence)
    return certify(targets, [promise], interval)[0].threshold


def summarised(case: Case, way: str, cuts: Sequence[float | None]) -> Row:
    """How often the truth at the thresholds found is below the target."""
    rates = [case.rates(cut) for cut in cuts if cut is not None]
    violated = sum(float(precision(true, false, case.prevalence)) < case.at_least - 1e-9 for true, false in rates)
    runs = len(cuts)
    return Row(
        case.name,
        case.violating,
        case.benign,
        case.prevalence,
        case.at_least,
        way,
        violated / runs,
        float(lower(violated, runs, 0.025)),
        float(upper(violated, runs, 0.025)),
        round(1.0 - CONFIDENCE, 6) if way == "ours" else None,
        len(rates) / runs,
        float(np.mean([true for true, _ in rates])) if rates else None,
    )


def squash(raw: Scores) -> Scores:
    """Margins as scores, rounded as the pipeline rounds them."""
    scores: Scores = np.round(1.0 / (1.0 + np.exp(-raw)), 6)
    return scores


if __name__ == "__main__":
    main()

"""Whether choosing a level pays: real fit targets, halved many times, the choice made on one half and judged on the other.

No object stands in both halves. Compared are what `choose_level` takes and zero-shot (the highest level without targets); vectors are
made once, so a fit is what a user waits for who has them in the cache. Beside it, what a few exemplars of each class are worth
where there is nothing to fit on (L2 at its default), and what decisions explained by concept cost (L5 on every half, taken or not, even
where the compiler would refuse it for want of objects).

    python benchmarks/ladder.py [--policies policies/weapons.yaml policies/fire.yaml policies/insults.yaml] [--splits 50]
                                [--exemplars 1 2 4 8 16] [--json]

Reported: how often the choice lost to zero-shot on the held-out half, with the exact 95 % interval of that share; the mean and the worst
change of average precision (an object counts once); which levels were taken; seconds of one core that a choice and a single fit take.
The shipped policy of texts, insults, needs the extra `text`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from moderation.compiler.bottleneck import fit_bottleneck
from moderation.compiler.exemplars import DEFAULT, remembering_head
from moderation.compiler.heads import MIN_BANK, contrast_head, embed_bank, normalised_head
from moderation.compiler.levels import average_precision, choose_level, explaining, split, too_few
from moderation.compiler.phrases import embed_concepts
from moderation.compiler.probe import Targets, fit_probe, targets
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.checkpoint import load
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
CACHE_BYTES = 100_000_000
MEMORY = 8  # objects of each class


def read(path: Path, most: int | None) -> tuple[list[Head], Targets]:
    """The heads that need no targets, and the policy's fit targets; `most` leaves out objects, evenly."""
    settings = load_settings()
    policy = load_policy(path, action_names=settings.actions)
    if policy.data.fit is None:
        raise SystemExit(f"{path}: expected a policy with data.fit")
    encoder = load(settings.encoders[policy.encoder].checkpoint, device="cpu", dtype="float32")
    embedder = Embedder(encoder, MemoryCache(CACHE_BYTES))
    background = [row.read() for row in load_manifest(ROOT / "policies" / "data" / "background.jsonl")]
    vectors = embed_concepts(policy, embedder)
    bank = embed_bank(background, policy.scope.modalities, embedder)
    heads = [contrast_head(vectors)]
    if len(bank.benign) >= MIN_BANK:
        heads.append(normalised_head(vectors, bank))
    rows = list(load_manifest(policy.data.fit))
    if most:
        sides = [list(dict.fromkeys(row.cluster for row in rows if row.target == side)) for side in (True, False)]
        kept = {name for side in sides for name in side[:most]}
        rows = [row for row in rows if row.cluster in kept]
    embedded = embedder.embed([row.read() for row in rows])
    if embedded.errors:
        raise SystemExit(f"{len(embedded.errors)} targets cannot be encoded")
    _, clusters = np.unique([row.cluster for row in rows], return_inverse=True)
    violating = np.array([row.target for row in rows], np.bool_)
    return heads, targets(embedded.vectors, violating, clusters.astype(np.int64))


def halves(known: Targets, seed: int) -> tuple[Targets, Targets]:
    """Two halves of the objects, of each class alike; an object with pictures of both classes is dealt with the violating ones."""
    dice, first = np.random.default_rng(seed), set()
    violating = np.unique(known.clusters[known.violating])
    for side in (violating, np.setdiff1d(known.clusters, violating)):
        first |= set(dice.permutation(side)[: len(side) // 2].tolist())
    mine = np.array([one in first for one in known.clusters.tolist()])
    return known.take(np.flatnonzero(mine)), known.take(np.flatnonzero(~mine))


def few(known: Targets, count: int, seed: int) -> Targets:
    """One picture each of `count` objects of each class."""
    order = np.random.default_rng([seed, count]).permutation(len(known))
    rows: list[int] = []
    for side in (True, False):
        mine = [row for row in order if known.violating[row] == side]
        _, first = np.unique(known.clusters[mine], return_index=True)
        rows += [mine[at] for at in sorted(first)[:count]]
    return known.take(np.array(rows))


def judged(head: Head, on: Targets) -> float:
    """Average precision; an object counts once."""
    return average_precision(head.raw(on.vectors), on)


def choices(heads: Sequence[Head], known: Targets, splits: int, *, exemplars: int = 0) -> dict[str, Any]:
    """What the choice did on every split; so many objects of each class are remembered instead of fitted on."""
    changes, levels, seconds, fits = [], [], [], []
    for seed in range(splits):
        fit, held_out = halves(known, seed)
        memory = few(fit, exemplars, seed) if exemplars else None
        if memory is not None:
            fit = fit.take(np.flatnonzero(~np.isin(fit.clusters, memory.clusters)))
        began = time.process_time()
        choice = choose_level(heads, fit, seed=seed, exemplars=memory)
        seconds.append(time.process_time() - began)
        began = time.process_time()
        fit_probe(heads[-1], fit, 1.0)
        fits.append(time.process_time() - began)
        levels.append(choice.head.level)
        changes.append(judged(choice.head, held_out) - judged(heads[-1], held_out))
    lost = sum(change < 0 for change in changes)
    interval = binomtest(lost, splits).proportion_ci(0.95)
    return {
        "splits": splits,
        "lost": lost,
        "lost_share_interval": [round(float(interval.low), 3), round(float(interval.high), 3)],
        "mean_change": round(float(np.mean(changes)), 4),
        "worst_change": round(float(np.min(changes)), 4),
        "levels": dict(sorted(Counter(levels).items())),
        "choice_seconds": round(float(np.median(seconds)), 3),
        "fit_seconds": round(float(np.median(fits)), 4),
    }


def explained(heads: Sequence[Head], known: Targets, splits: int) -> dict[str, Any] | None:
    """What L5 did on every split, beside zero-shot and beside the plain choice; None where some half gives no L5 to judge."""
    changes, beside, phrases, fits = [], [], [], []
    for seed in range(splits):
        fit, held_out = halves(known, seed)
        rung = None if too_few(fit) else explaining(heads[-1], fit, split(fit, seed=seed))
        if rung is None:
            return None
        began = time.process_time()
        fit_bottleneck(heads[-1], fit, rung.option["penalty"])
        fits.append(time.process_time() - began)
        head = rung.make()
        phrases.append(np.count_nonzero(head.weights))
        changes.append(judged(head, held_out) - judged(heads[-1], held_out))
        beside.append(judged(head, held_out) - judged(choose_level(heads, fit, seed=seed).head, held_out))
    return {
        "splits": splits,
        "lost": sum(change < 0 for change in changes),
        "mean_change": round(float(np.mean(changes)), 4),
        "worst_change": round(float(np.min(changes)), 4),
        "beside_the_choice": round(float(np.mean(beside)), 4),
        "phrases": float(np.median(phrases)),
        "fit_seconds": round(float(np.median(fits)), 4),
    }


def remembered(heads: Sequence[Head], known: Targets, counts: Sequence[int], splits: int) -> list[dict[str, Any]]:
    """What so many exemplars of each class do, at the default, to what they were not taken from."""
    rows = []
    for count in counts:
        changes = []
        for seed in range(splits):
            pool, held_out = halves(known, seed)
            head = remembering_head(heads[-1], few(pool, count, seed), DEFAULT)
            changes.append(judged(head, held_out) - judged(heads[-1], held_out))
        rows.append(
            {
                "exemplars": count,
                "mean_change": round(float(np.mean(changes)), 4),
                "worst_change": round(float(np.min(changes)), 4),
                "lost": sum(change < 0 for change in changes),
            }
        )
    return rows


def main() -> None:
    """Encode, halve, choose, judge, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    named = [ROOT / "policies" / f"{name}.yaml" for name in ("weapons", "fire", "insults")]
    parser.add_argument("--policies", nargs="+", type=Path, default=named)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--exemplars", nargs="*", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--most", type=int, help="objects of each class that are read")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for path in options.policies:
        heads, known = read(path, options.most)
        print(f"{path.stem}: {len(known)} targets encoded", file=sys.stderr)
        with threadpool_limits(1):
            found[path.stem] = {
                "zero_shot": heads[-1].level,
                "objects": len(np.unique(known.clusters)),
                "violating_objects": len(np.unique(known.clusters[known.violating])),
                **choices(heads, known, options.splits),
                "with_exemplars": {"a_class": MEMORY, **choices(heads, known, options.splits, exemplars=MEMORY)},
                "explained": explained(heads, known, options.splits),
                "remembered": remembered(heads, known, options.exemplars, options.splits),
            }
    result = {"splits": options.splits, "policies": found}
    print(json.dumps(result) if options.json else table(result))


def table(result: Mapping[str, Any]) -> str:
    """For people."""
    lines = []
    for name, one in result["policies"].items():
        low, high = one["lost_share_interval"]
        taken = ", ".join(f"{level} {count} times" for level, count in one["levels"].items())
        lost = f"lost to {one['zero_shot']} in {one['lost']} of {one['splits']} splits ({low:.0%} to {high:.0%})"
        lines.append(
            f"{name}: {one['objects']} objects, {one['violating_objects']} of them violating; the choice {lost}"
        )
        lines.append(f"  AP {one['mean_change']:+.3f}, at worst {one['worst_change']:+.3f}; taken: {taken}")
        memory = one["with_exemplars"]
        levels = ", ".join(f"{level} {count} times" for level, count in memory["levels"].items())
        lines.append(
            f"  with {memory['a_class']} of each class as exemplars instead: lost in {memory['lost']}; taken: {levels}"
        )
        lines.append(f"  AP {memory['mean_change']:+.3f}, at worst {memory['worst_change']:+.3f}")
        lines.append(f"  a choice took {one['choice_seconds']} s, one fit {one['fit_seconds']} s")
        lines.append(f"  explained by concept (L5): {explanation(one['explained'], one['zero_shot'])}")
        lines += [
            f"  {row['exemplars']} exemplars a class, nothing fitted: AP {row['mean_change']:+.3f}, at worst "
            f"{row['worst_change']:+.3f}, lost {row['lost']} times"
            for row in one["remembered"]
        ]
    return "\n".join(lines)


def explanation(one: Mapping[str, Any] | None, zero_shot: str) -> str:
    """L5 for people."""
    if one is None:
        return "not measured: too few objects, or no violating phrase that counts"
    return (
        f"AP {one['mean_change']:+.3f}, at worst {one['worst_change']:+.3f}, lost to {zero_shot} in {one['lost']} of "
        f"{one['splits']} splits; beside the choice {one['beside_the_choice']:+.3f}; {one['phrases']:g} phrases count; one fit took "
        f"{one['fit_seconds']} s"
    )


if __name__ == "__main__":
    main()

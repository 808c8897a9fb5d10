"""What a policy could promise, from its fit targets alone: the certify targets stay unasked until the promise stands.

    python examples/plan_promise.py policies/weapons.yaml --violating 67 --benign 2001

Every fit object is scored by a classifier made from the others, of the level that `compile` would choose. For thresholds that reach
so many of the violating ones, the table says what share of the benign ones comes with them, and what precision `certify` could then
show at the low end of the prevalence with that many violating and benign objects, at the policy's highest confidence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from moderation import assemble
from moderation.compiler.bounds import TPR_PART, lower, precision, upper
from moderation.compiler.heads import MIN_BANK, contrast_head, embed_bank, normalised_head
from moderation.compiler.levels import FOLDS, choose_level, split
from moderation.compiler.phrases import embed_concepts
from moderation.compiler.probe import Targets, fit_probe, targets
from moderation.embedding.embedder import Embedder
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.settings import load_settings

RECALLS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--violating", type=int, required=True, help="violating objects that certify will have")
    parser.add_argument("--benign", type=int, required=True, help="benign objects that certify will have")
    options = parser.parse_args()
    settings = load_settings()
    policy = load_policy(options.policy, action_names=settings.actions)
    level, scores, fit = held_out_scores(policy, assemble.embedder(settings, policy.encoder))
    _, first = np.unique(fit.clusters, return_index=True)  # one picture of each object
    scores, side = scores[first], fit.violating[first]
    alpha = (1.0 - max(one.guarantee.confidence for one in policy.actions)) / len(policy.actions)
    print(f"{policy.id}: level {level}, {side.sum()} violating and {(~side).sum()} benign fit objects, alpha {alpha:g}")
    print(f"{'recall':>8}{'benign flagged':>17}{'precision':>12}{'certify could show':>21}")
    for recall in RECALLS:
        cut = np.quantile(scores[side], 1.0 - recall)
        false = float((scores[~side] >= cut).mean())
        tpr = lower(round(recall * options.violating), options.violating, alpha * TPR_PART)
        fpr = upper(round(false * options.benign), options.benign, alpha * (1.0 - TPR_PART))
        likely, shown = (float(precision(*rates, policy.prevalence.low)) for rates in ((recall, false), (tpr, fpr)))
        print(f"{recall:>8.1f}{false:>17.2%}{likely:>12.2f}{shown:>21.2f}")


def held_out_scores(policy: Policy, embedder: Embedder) -> tuple[str, np.ndarray, Targets]:
    """The level chosen, the raw margin of each fit target by a head made from the other folds, and the targets."""
    rows = load_manifest(policy.data.fit) if policy.data.fit else ()
    vectors = embed_concepts(policy, embedder)
    background = policy.path.parent / "data" / "background.jsonl"
    ordinary = [row.read() for row in load_manifest(background)] if background.exists() else []
    bank = embed_bank(ordinary, policy.scope.modalities, embedder)
    heads = [contrast_head(vectors), *([normalised_head(vectors, bank)] if len(bank.benign) >= MIN_BANK else [])]
    _, clusters = np.unique([row.cluster for row in rows], return_inverse=True)
    embedded = embedder.embed([row.read() for row in rows])
    fit = targets(embedded.vectors, np.array([row.target for row in rows]), clusters)
    choice = choose_level(heads, fit, seed=0)
    scores = choice.head.raw(fit.vectors)
    if choice.pull is not None:
        for train, test in split(fit, seed=0)[:FOLDS]:
            scores[test] = fit_probe(choice.base, fit.take(train), choice.pull).raw(fit.vectors[test])
    return choice.head.level, scores, fit


if __name__ == "__main__":
    main()

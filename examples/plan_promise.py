"""Which precision a policy could promise: what its fit targets suggest, cross-validated, before a certify target is asked.

python examples/plan_promise.py [POLICY.yaml]

Of the certify manifest only its numbers of objects are read, never a score. A plan is no evidence: it takes the cut that looks
best on the very scores it is read from. Promise less than it says at the rates seen, and certify once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from moderation import assemble
from moderation.compiler.bounds import TPR_PART, lower, precision, upper
from moderation.compiler.certify import ENTRY_RECALL
from moderation.compiler.heads import MIN_BANK, contrast_head, embed_bank, normalised_head
from moderation.compiler.levels import choose_level, split, too_few
from moderation.compiler.phrases import embed_concepts
from moderation.compiler.probe import Targets, fit_probe, targets
from moderation.embedding.embedder import Embedder
from moderation.policy.loader import load_policy
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.paths import background_of
from moderation.policy.schema import Policy
from moderation.settings import load_settings

WEAPONS = Path(__file__).resolve().parent.parent / "policies" / "weapons.yaml"
Rates = tuple[np.ndarray, np.ndarray]  # true and false positive, at each cut
Fold = tuple[np.ndarray, np.ndarray]  # rows that were held out, and their scores
DOUBT = 0.1
CANDIDATES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SIZES = np.unique(np.geomspace(5, 5000, 200).astype(int))  # numbers of violating objects that are tried


def main(policy_file: Path) -> None:
    """Print for each candidate precision how many objects would about show it, and which of them those at hand could."""
    settings = load_settings()
    policy = load_policy(policy_file, action_names=settings.actions)
    rows = load_manifest(policy.data.fit) if policy.data.fit else ()
    asked = load_manifest(policy.data.certify, check_files=False) if policy.data.certify else rows
    at_hand = tuple(len({row.cluster for row in asked if row.target is side}) for side in (True, False))
    fit = read_targets(policy, rows, embedder := assemble.embedder(settings, policy.encoder))
    with threadpool_limits(1):  # as compile does: the same head on any number of cores
        seen = rates(fit, held_out_scores(policy, fit, embedder))
    violating, benign = (len(np.unique(fit.clusters[fit.violating == side])) for side in (True, False))
    doubted = lower(seen[0] * violating, violating, DOUBT), upper(seen[1] * benign, benign, DOUBT)
    print(f"fitted on {violating} violating and {benign} benign objects; {at_hand[0]} and {at_hand[1]} to certify on")
    for name, found in (
        ("as seen", seen),
        (f"at the worse end of what the fit objects say, {1 - DOUBT:.0%} each", doubted),
    ):
        ratio = at_hand[1] / max(at_hand[0], 1)
        shown = bounds(policy, found, ratio)
        print(f"with rates {name}:")
        for promise in CANDIDATES:
            enough = SIZES[shown >= promise]
            if not len(enough):
                print(f"  precision {promise:.2f} and above: out of reach")
                break
            verdict = "at hand" if enough[0] <= at_hand[0] else "too few are at hand"
            benign_too = int(np.ceil(enough[0] * ratio))
            print(f"  precision {promise:.2f}: takes {enough[0]} violating and {benign_too} benign objects, {verdict}")


def bounds(policy: Policy, found: Rates, ratio: float) -> np.ndarray:
    """The best precision that each of SIZES violating objects, and `ratio` times as many benign ones, could show."""
    alpha = (1 - max(one.guarantee.confidence for one in policy.actions)) / len(policy.actions)
    violating, benign = SIZES[:, None], np.ceil(SIZES * ratio)[:, None]
    tpr = lower(np.round(violating * found[0]), violating, alpha * TPR_PART)
    fpr = upper(np.round(benign * found[1]), benign, alpha * (1 - TPR_PART))
    return precision(tpr, fpr, policy.prevalence.low).max(axis=1)


def read_targets(policy: Policy, rows: Sequence[TargetRow], embedder: Embedder) -> Targets:
    """The fit targets that can be encoded."""
    encoded = embedder.embed([row.read() for row in rows])
    kept = [place for place in range(len(rows)) if place not in encoded.errors]
    clusters = np.unique([rows[place].cluster for place in kept], return_inverse=True)[1]
    fit = targets(encoded.vectors[kept], np.array([rows[place].target for place in kept], bool), clusters)
    if short := too_few(fit):
        raise SystemExit(f"{policy.id}: {short}; nothing can be planned on them")
    return fit


def rates(fit: Targets, held_out: Sequence[Fold]) -> Rates:
    """True and false positive rates at each cut that certify may start from; an object counts once."""
    rows, scores = (np.concatenate(parts) for parts in zip(*held_out, strict=True))
    weights, violating = fit.weights[rows], fit.violating[rows]
    cuts = np.unique(scores[violating])
    tpr, fpr = (
        np.array([weights[side & (scores >= cut)].sum() / weights[side].sum() for cut in cuts])
        for side in (violating, ~violating)
    )
    return tpr[tpr >= ENTRY_RECALL], fpr[tpr >= ENTRY_RECALL]


def held_out_scores(policy: Policy, fit: Targets, embedder: Embedder) -> list[Fold]:
    """For each fold its rows, and their raw scores by the level that compile chooses, made from the other folds."""
    vectors = embed_concepts(policy, embedder)
    background = background_of(policy.path, policy.id)
    ordinary = [row.read() for row in load_manifest(background)] if background.exists() else []
    bank = embed_bank(ordinary, policy.scope.modalities, embedder)
    heads = [contrast_head(vectors)]
    if len(bank.benign) >= MIN_BANK:
        heads.append(normalised_head(vectors, bank))
    choice = choose_level(heads, fit, seed=0)
    print(f"{policy.id}: level {choice.head.level}, {choice.reason}")
    found = []
    for train, test in split(fit, seed=0):
        head = choice.head if choice.pull is None else fit_probe(choice.base, fit.take(train), choice.pull)
        found.append((test, head.raw(fit.vectors[test])))
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else WEAPONS)

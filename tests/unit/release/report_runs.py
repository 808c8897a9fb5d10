"""Runs and streams for the report's tests: shipped policies and pictures, seeded scores, the true decide()."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from moderation.compiler.certify import ScoredTarget, certify
from moderation.decision import Decision, Score, Verdict
from moderation.encoder.card import EncoderCard, ImageCard
from moderation.policy.decide import Cut, Finding, Terms, answer, judge
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.schema import Policy
from moderation.release.achieved import Known
from moderation.release.report import Judged, Run
from moderation.settings import Settings

POLICIES = Path(__file__).parents[3] / "policies"
ORDER = Settings().actions
CARD = EncoderCard(
    schema="encoder-card/v1",
    name="stand-in",
    modalities=("image",),
    width=8,
    activation="gelu",
    image=ImageCard(size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    metrics={"auc": {"weapons": 0.9}},
)


def seeded_score(chance: random.Random, *, target: bool) -> float:
    return round(chance.betavariate(6, 2) if target else chance.betavariate(1.2, 9), 6)


def make_run(name: str, *, seed: int = 0, rows: Sequence[TargetRow] | None = None) -> Run:
    policy = load_policy(POLICIES / f"{name}.yaml", action_names=ORDER)
    chance = random.Random(f"{name}/{seed}")
    assert policy.data.certify
    rows = load_manifest(policy.data.certify) if rows is None else rows
    scored = [
        ScoredTarget(seeded_score(chance, target=row.target), row.target, row.cluster, row.sha256) for row in rows
    ]
    return Run(policy, make_lock(policy, scored), rows, scored, None)


def make_lock(policy: Policy, scored: Sequence[ScoredTarget]) -> Lock:
    return Lock(
        policy=policy.id,
        version=policy.version,
        policy_hash=policy.content_hash,
        severity=policy.severity,
        on_error=policy.on_error,
        modalities=policy.scope.modalities,
        encoder="default",
        encoder_identity="0" * 16,
        encoder_numeric="made-up",
        width=8,
        level="L1",
        arrays={},
        phrases=tuple(phrase for concept in policy.concepts.violating for phrase in concept.phrases),
        actions=certify(scored, policy.actions, policy.prevalence),
        max_parts=1,
        evidence={"controls": {"name only": 0.5}},
    )


def make_stream(runs: Sequence[Run], *, length: int = 120, repeats: int = 10, seed: int = 0) -> list[Judged]:
    manifests = {run.policy.id: load_manifest(POLICIES / "data" / f"{run.policy.id}.stream.jsonl") for run in runs}
    targets = {name: {row.sha256: row.target for row in rows} for name, rows in manifests.items()}
    chance = random.Random(seed)
    rows = chance.sample(list(next(iter(manifests.values()))), length)
    scores = {
        row.sha256: {
            run.policy.id: seeded_score(chance, target=targets[run.policy.id].get(row.sha256, False)) for run in runs
        }
        for row in rows
    }
    order = [*rows, *chance.sample(rows, repeats)]
    stream, seen, clusters = [], set(), set()
    for number, row in enumerate(order):
        known = Known(
            f"item-{number:04d}",
            row.cluster,
            {name: found[row.sha256] for name, found in targets.items() if row.sha256 in found},
            row.cluster not in clusters,
        )
        decision = _decide(known.item_id, runs, scores[row.sha256], hit=row.sha256 in seen)
        seen.add(row.sha256)
        clusters.add(row.cluster)
        stream.append(Judged(known, row.read().content, decision))
    return stream


def _decide(item: str, runs: Sequence[Run], scores: Mapping[str, float], *, hit: bool) -> Decision:
    verdicts = tuple(_verdict(run, scores[run.policy.id]) for run in runs)
    return answer(item, verdicts, ORDER, encoders={"image": "0/made-up"}, cache_hit=hit)


def _verdict(run: Run, score: float) -> Verdict:
    lock = run.lock
    cuts = tuple(Cut(one.action, one.threshold) for one in lock.actions if one.threshold is not None)
    terms = Terms(lock.policy, lock.version, lock.revision, "draft", lock.severity, lock.on_error, cuts, lock.max_parts)
    finding = Finding("0", Score(lock.policy, score, concept=lock.phrases[0]))
    return judge(terms, [finding], parts=1, order=ORDER)

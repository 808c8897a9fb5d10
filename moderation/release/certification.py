"""Certify a lock: score its certify targets through the pipeline, and freeze the thresholds that keep its promises."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.calibrate import Calibrated, calibrate
from moderation.compiler.certify import ScoredTarget, certify, one_per_cluster
from moderation.decision import Abstention, Score
from moderation.detector.faults import FAULTS
from moderation.detector.head import NOT_OF_THE_HEAD
from moderation.errors import DataError, DetectorError, LockError, Problem
from moderation.item import ContentItem
from moderation.policy.inputs import digest_manifests
from moderation.policy.lock import Lock, LockedAction, marks
from moderation.policy.manifest import TargetRow
from moderation.policy.schema import Policy
from moderation.release.bins import histogram
from moderation.release.most_parts import MostParts
from moderation.release.splits import NO_AUDIT, NO_EVIDENCE, Pair, Progress, hold_apart, joined, other_rows, silent
from moderation.rollout.running import RunningSet
from moderation.rollout.selftest import advice
from moderation.settings import ImageLimits

BATCH = 64
OUT_OF_SCOPE = Abstention("out_of_scope", "the policy judges nothing of this item")
LIMITS = ImageLimits()
SIDES = {"violating": True, "benign": False}


Shown = Callable[[Sequence[ContentItem]], object]


class Scorer(Protocol):
    """What certification needs of the pipeline."""

    running: RunningSet

    def score(
        self, items: Sequence[ContentItem], *, shown: Shown = lambda _items: None, alone: bool = False
    ) -> Sequence[dict[str, Score | Abstention]]:
        """For each item, in order, what each policy's id scored; `shown` is told the items as readers made them; `alone` encodes each by itself."""
        ...


def certify_lock(
    lock: Lock,
    policy: Policy,
    rows: Sequence[TargetRow],
    pipeline: Scorer,
    *,
    background: Sequence[TargetRow],
    limits: ImageLimits = LIMITS,
    progress: Progress = silent,
) -> Lock:
    """`lock` with a threshold, or what it lacks, for each of the policy's actions.

    Every row is scored as a whole item by the pipeline that will decide on it. Clusters that hold near-duplicates of one another count
    as one, which the evidence tells (`merged`, by digest). Raises DataError for all rows that could not be judged (evidence with holes
    in it would prove too much), that the classifier was made from, or that share a content or cluster, or are nearly the same, with the
    `background` or the policy's other manifests; LockError where the pipeline's encoder is of another numeric class than the lock's: its
    scores are not those that will be cut there. Pictures over the `limits` are compared with nothing.
    """
    _refuse_elsewhere(lock, pipeline.running)
    others = other_rows(policy, background, use="certify")
    refuse_used(lock, rows, fit=others)
    pairs = hold_apart(rows, others, why=NO_EVIDENCE, limits=limits, progress=progress)
    counted, merged = joined(rows, pairs)
    most = MostParts(next(one for one in pipeline.running.policies if one.id == policy.id))
    with progress(f"{policy.id}: scoring targets", len(rows)) as advance:
        scored = score_targets(policy, counted, pipeline, advance=advance, shown=most.see)
        scored, actions = _settled(policy, counted, scored, pipeline)
    calibrated = calibrate(one_per_cluster(scored), policy.prevalence)
    asked, known = _ask(lock, policy, rows)
    apart = {"merged": [[row.sha256 for row in pair] for pair in merged], "unseen": _unseen(lock, others)}
    inputs = digest_manifests(rows, policy.path.parent)
    rests_on = {
        "certify": {**_evidence(policy, scored), **apart, "asked": len(asked), "inputs": inputs},
        "calibration": _reliability(calibrated),
    }
    return replace(
        lock,
        actions=actions,
        max_parts=most.own,
        readers=most.readers(),
        calibration=calibrated.calibration,
        arrays={**lock.arrays, "asked": known},
        evidence={**lock.evidence, **rests_on, "asked": asked},
    )


def _settled(
    policy: Policy, rows: Sequence[TargetRow], scored: Sequence[ScoredTarget], pipeline: Scorer
) -> tuple[list[ScoredTarget], tuple[LockedAction, ...]]:
    """The thresholds, and the scores that they hold for: as in decisions, a target that is so near to one that its batch's company could decide is scored alone."""
    company = next(one.terms.company for one in pipeline.running.policies if one.id == policy.id)
    known, alone = {one.digest: one for one in scored}, set[str]()
    while True:
        actions = certify(known.values(), policy.actions, policy.prevalence)
        cuts = [one.threshold for one in actions if one.threshold is not None]
        near = [
            row
            for row in rows
            if row.sha256 not in alone and any(abs(known[row.sha256].score - cut) <= company for cut in cuts)
        ]
        if not near:
            return list(known.values()), actions
        alone.update(row.sha256 for row in near)
        known.update((one.digest, one) for one in score_targets(policy, near, pipeline, alone=True))


def merged_pairs(lock: Lock, rows: Sequence[TargetRow]) -> list[Pair]:
    """The rows by which clusters were taken for one when `lock` was certified on these `rows`."""
    known = {row.sha256: row for row in rows}
    return [(known[one], known[other]) for one, other in lock.evidence["certify"]["merged"]]


def _unseen(lock: Lock, others: Iterable[TargetRow]) -> int:
    """How many contents and clusters that the classifier was made from are in no manifest now, so that near-duplicates of them cannot be found."""
    rows = list(others)
    known = marks((digest for row in rows for digest in row.digests), {row.cluster for row in rows})
    return int((~np.isin(_marked(lock, "used"), known)).sum())


def remember(lock: Lock, before: Lock) -> Lock:
    """`lock` with what the lock whose place it takes had asked: each new question to targets that were asked before is counted.

    Every answer has its own confidence; of many questions to one set, some answer comes out too good by chance.
    """
    asked = before.evidence.get("asked")
    if not asked:
        return lock
    arrays = {**lock.arrays, "asked": _marked(before, "asked")}
    return replace(lock, arrays=arrays, evidence={**lock.evidence, "asked": asked})


def _ask(lock: Lock, policy: Policy, rows: Sequence[TargetRow]) -> tuple[list[str], NDArray[np.uint64]]:
    """The questions put to targets of which some are asked again now, and marks of all that were asked so far.

    A question is the classifier, the promises, and the rows: a set that grew, or lost a row, is asked anew. Rows that share
    nothing with those of before start a new count.
    """
    now = marks((row.sha256 for row in rows), (row.cluster for row in rows))
    before = _marked(lock, "asked")
    asked: list[str] = list(lock.evidence.get("asked", ())) if np.isin(now, before).any() else []
    question = hashlib.sha256(now.tobytes())
    for name, array in sorted(lock.arrays.items()):
        if name not in NOT_OF_THE_HEAD:
            question.update(name.encode() + array.tobytes())
    for one in policy.actions:
        promise = one.guarantee
        question.update(f"{one.action} {promise.metric} {promise.at_least} {promise.confidence} {one.budget}".encode())
    question.update(f"{policy.prevalence.low} {policy.prevalence.high}".encode())
    known = np.union1d(now, before) if asked else now
    return sorted({*asked, question.hexdigest()[:16]}), known


def _marked(lock: Lock, name: str) -> NDArray[np.uint64]:
    return lock.arrays.get(name, marks((), ()))


def _refuse_elsewhere(lock: Lock, running: RunningSet) -> None:
    here = next((one.numeric for one in running.policies if one.id == lock.policy), None)
    if here is None:
        raise LockError(
            f"policy {lock.policy!r}: the pipeline does not run it; expected the pipeline of this very lock"
        )
    if here != lock.encoder_numeric:
        raise LockError(
            f"policy {lock.policy!r}: the lock was compiled on {lock.encoder_numeric}, the encoder runs as {here}, and scores "
            f"differ between the two; {advice(lock)}"
        )


def refuse_used(lock: Lock, rows: Sequence[TargetRow], *, fit: Iterable[TargetRow] = (), what: str = "certify") -> None:
    """Raises DataError for rows the classifier was made from: one problem a cluster, or a content; they cannot certify, or audit, it.

    The lock itself knows what it was made from, whatever the manifests say by now.
    """
    problems = _marked_rows(rows, _marked(lock, "used"), f"the classifier was made from {{}}; it cannot {what} it", fit)
    if problems:
        raise DataError(problems)


def refuse_audited(
    lock: Lock,
    policy: Policy,
    rows: Sequence[TargetRow],
    *,
    background: Sequence[TargetRow],
    limits: ImageLimits = LIMITS,
    progress: Progress = silent,
) -> None:
    """Raises DataError for rows that cannot audit the lock: it was made from them, its thresholds were chosen on them, or they are nearly such.

    Rows of an audit may be like one another: they vary one thing on purpose.
    """
    refuse_used(lock, rows, what="audit")
    problems = _marked_rows(rows, _marked(lock, "asked"), "the thresholds were chosen on {}; it cannot audit them", ())
    if problems:
        raise DataError(problems)
    others = other_rows(policy, background, use="audit")
    hold_apart(rows, others, why=NO_AUDIT, limits=limits, progress=progress)


def _marked_rows(
    rows: Sequence[TargetRow], known: NDArray[np.uint64], message: str, before: Iterable[TargetRow]
) -> list[Problem]:
    """One problem for each cluster among the `known` marks, and for each content of another cluster; `before` names where that stands."""
    used, made_of = set(known.tolist()), {row.sha256: row for row in before}
    counts = Counter(row.cluster for row in rows)
    clusters = {one for one in counts if not used.isdisjoint(marks((), (one,)).tolist())}
    first = {row.cluster: row for row in reversed(rows) if row.cluster in clusters}
    problems = [
        row.problem("D201", f"{message.format(f'cluster {one!r}')} ({counts[one]} rows)") for one, row in first.items()
    ]
    for row in rows:
        if row.cluster not in clusters and not used.isdisjoint(marks(row.digests, ()).tolist()):
            same = next((made_of[digest] for digest in row.digests if digest in made_of), None)
            there = f", there of cluster {same.cluster!r} ({same.manifest}:{same.line})" if same else ""
            problems.append(row.problem("D201", message.format(f"this very content, {row.what}{there}")))
    return problems


def _evidence(policy: Policy, scored: Sequence[ScoredTarget]) -> dict[str, Any]:
    """What the thresholds rest on: how many targets, which, at what prevalence, and how their scores lie."""
    digests = hashlib.sha256("\n".join(sorted(f"{one.digest} {one.target}" for one in scored)).encode())
    sides = {name: [one for one in scored if one.target is target] for name, target in SIDES.items()}
    return {
        "targets": {name: len(side) for name, side in sides.items()},
        "clusters": {name: len({one.cluster for one in side}) for name, side in sides.items()},
        "digest": digests.hexdigest(),
        "prevalence": {"low": policy.prevalence.low, "high": policy.prevalence.high},
        "histogram": {name: histogram([one.score for one in side]) for name, side in sides.items()},
    }


def _reliability(found: Calibrated) -> dict[str, Any]:
    """What the calibration rests on and how well it tells; its numbers stand in the lock itself."""
    told = asdict(found) | {"method": found.calibration.method if found.calibration else "none"}
    return {name: value for name, value in told.items() if name != "calibration"}


def score_targets(
    policy: Policy,
    rows: Sequence[TargetRow],
    pipeline: Scorer,
    *,
    advance: Callable[[int], None] = lambda _count: None,
    shown: Shown = lambda _items: None,
    alone: bool = False,
) -> list[ScoredTarget]:
    """The policy's score of each target, by the pipeline, as whose readers made them items are `shown`; `alone`, each in a batch of its own. Raises DataError for all rows that could not be judged."""
    scored: list[ScoredTarget] = []
    problems: list[Problem] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        readable = list(_readable(batch, problems))
        answers = pipeline.score([item for _, item in readable], shown=shown, alone=alone)
        for (row, _), answer in zip(readable, answers, strict=True):
            score = answer.get(policy.id, OUT_OF_SCOPE)
            if isinstance(score, Abstention):
                if score.reason in FAULTS:
                    raise DetectorError(score.detail, _fault(policy, score))
                problems.append(row.problem("D200", f"{row.what} cannot be judged: {_why(score)}"))
            else:
                scored.append(ScoredTarget(score.value, row.target, row.cluster, row.sha256))
        advance(len(batch))
    if problems:
        raise DataError(problems)
    return scored


def _fault(policy: Policy, fault: Abstention) -> str:
    return f"failed while targets of policy {policy.id!r} were scored: {_why(fault)}; nothing is certified with holes in it"


def _why(missing: Abstention) -> str:
    return f"{missing.reason} ({missing.cause})" if missing.cause else missing.reason


def _readable(rows: Iterable[TargetRow], problems: list[Problem]) -> Iterator[tuple[TargetRow, ContentItem]]:
    """The rows whose content is what the manifest says, as items; what is wrong with the others goes to `problems`."""
    for row in rows:
        try:
            yield row, row.item()
        except DataError as error:
            problems += error.problems

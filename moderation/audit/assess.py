"""The whole audit of one policy: harms against their tolerances, and everything that stands beside a verdict."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

import moderation
from moderation.audit.counterfactual import compare_counterfactuals
from moderation.audit.curves import reliability
from moderation.audit.design import Design, associate, vary_design
from moderation.audit.harms import assess_harms, explore_intersections
from moderation.audit.ranking import rank_groups
from moderation.audit.result import (
    Association,
    Attribute,
    Audit,
    Change,
    GroupCount,
    HarmResult,
    Sensitivity,
    overall,
)
from moderation.audit.sample import Sample
from moderation.compiler.bounds import lower, upper
from moderation.policy.lock import Lock
from moderation.policy.schema import Audit as Block
from moderation.policy.schema import AuditAttribute, Policy

_SIDED = 0.025


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What an audit is asked beside its sample; `design` None where the vectors are not at hand, `earlier` an audit as JSON.

    `order` names all actions, weakest first; `proposed` holds unit vectors of contrast phrases to try, by phrase.
    """

    order: Sequence[str]
    date: str = ""
    command: str = ""
    design: Design | None = None
    proposed: Mapping[str, NDArray[np.float32]] | None = None
    earlier: Mapping[str, Any] | None = None
    seed: int = 0


def assess(policy: Policy, block: Block, lock: Lock, sample: Sample, request: Request) -> Audit:
    """The audit of a certified lock on judged items; the same inputs give the same audit, to the last digit."""
    harms = assess_harms(block, sample, order=request.order, seed=request.seed)
    design = request.design
    sensitivity: tuple[Sensitivity, ...] = ()
    associations: tuple[Association, ...] = ()
    if design is not None:
        sensitivity = vary_design(policy, block, sample, design, order=request.order, proposed=request.proposed)
        associations = associate(policy, block, sample, design, seed=request.seed)
    acted = sample.force > 0
    return Audit(
        policy=policy.id,
        title=policy.title,
        version=policy.version,
        revision=lock.revision,
        encoder=lock.encoder_identity,
        registered=registration(block),
        data=hashlib.sha256("\n".join(sorted(sample.ids)).encode()).hexdigest(),
        date=request.date,
        verdict=overall(harms),
        items=len(sample),
        violating=int(sample.target.sum()),
        clusters=sample.clusters,
        excluded=sample.excluded,
        attributes=tuple(_attribute(one, sample) for one in block.attributes),
        harms=harms,
        intersections=explore_intersections(block, sample, order=request.order),
        counterfactuals=tuple(
            compare_counterfactuals(
                sample, name, others=[one.name for one in block.attributes if one.name != name], flagged=acted
            )
            for name in block.counterfactuals
        ),
        sensitivity=sensitivity,
        associations=associations,
        article_15=_article_15(policy, lock, sample),
        earlier=_changes(harms, request.earlier),
        not_assessed=_not_assessed(block, sample, harms, design),
        limits=_limits(policy, block, sample),
        versions={
            "moderation": moderation.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scipy": scipy.__version__,
        },
        command=request.command,
    )


def registration(block: Block) -> str:
    """SHA-256 of what was fixed in advance: harms, tolerances, attributes, correction."""
    plain = block.model_dump(mode="json")
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _attribute(declared: AuditAttribute, sample: Sample) -> Attribute:
    groups, lost = sample.groups[declared.name], sample.lost.get(declared.name, {})
    counts = []
    for place, name in enumerate(groups.names):
        own = groups.codes == place
        violating = int((own & sample.target).sum())
        clusters = len(np.unique(sample.cluster[own]))
        counts.append(
            GroupCount(name, int(own.sum()), violating, int(own.sum()) - violating, clusters, lost.get(name, 0))
        )
    counts += [GroupCount(name, 0, 0, 0, 0, count) for name, count in lost.items() if name not in groups.names]
    return Attribute(
        name=declared.name,
        about=declared.about,
        source=declared.source,
        agreement=declared.agreement,
        unknown=int((groups.codes < 0).sum()),
        groups=tuple(counts),
        rankings=rank_groups(sample, groups),
        reliability=reliability(sample, groups),
    )


def _article_15(policy: Policy, lock: Lock, sample: Sample) -> dict[str, Any]:
    """What Article 15(1)(e) of Regulation (EU) 2022/2065 asks of automated means; rates are of the audit's items, with exact 95 % bounds."""
    acted, sides = sample.force > 0, {"false_positive": ~sample.target, "false_negative": sample.target}
    rates = {}
    for name, side in sides.items():
        count, wrong = int(side.sum()), int((acted[side] if name == "false_positive" else ~acted[side]).sum())
        bounds = [float(lower(wrong, count, _SIDED)), float(upper(wrong, count, _SIDED))]
        rates[name] = {"rate": wrong / count if count else None, "low": bounds[0], "high": bounds[1], "items": count}
    return {
        "means": f"embedding classifier of level {lock.level} over encoder {lock.encoder_identity[:16]}, thresholds certified",
        "purpose": policy.title,
        "languages": list(policy.scope.languages),
        "accuracy": [
            {
                "action": one.action,
                "promised": f"{one.metric} at least {one.at_least:g} with confidence {one.confidence:g}",
                "prevalence": {"low": policy.prevalence.low, "high": policy.prevalence.high},
                "certified": one.threshold is not None,
            }
            for one in lock.actions
        ],
        "error_rates_in_this_audit": rates,
        "safeguards": [
            f"what cannot be judged gets the action {policy.on_error!r}",
            "thresholds are certified at a stated prevalence, on items that the classifier was not made from",
            *(f"{one.claim}: {one.handled_by}" for one in policy.definition.out_of_reach),
        ],
    }


def _changes(harms: Sequence[HarmResult], earlier: Mapping[str, Any] | None) -> tuple[Change, ...]:
    if not earlier:
        return ()
    before = {(one["name"], one["attribute"]): one for one in earlier.get("harms", ())}
    found = []
    for one in harms:
        old = before.get((one.name, one.attribute))
        gaps = old["gaps"] if old else []
        found.append(
            Change(
                one.name,
                one.attribute,
                gaps[0]["difference"] if gaps else None,
                one.gaps[0].difference if one.gaps else None,
                old["verdict"] if old else "not there",
                one.verdict.value,
            )
        )
    return tuple(found)


def _not_assessed(block: Block, sample: Sample, harms: Sequence[HarmResult], design: Design | None) -> tuple[str, ...]:
    """Everything that silence would let pass for fine."""
    told = [f"{one.name} by {one.attribute}: {one.reason}" for one in harms if not one.gaps]
    for one in block.attributes:
        unknown = int((sample.groups[one.name].codes < 0).sum())
        if unknown:
            told.append(f"{one.name}: {unknown} of {len(sample)} items do not state it and stand in no group")
    told += [f"{count} items: {reason}" for reason, count in sample.excluded.items()]
    if not block.intersections and len(block.attributes) > 1:
        told.append("intersections of attributes: none is declared")
    if not block.counterfactuals:
        told.append("counterfactual pairs: no attribute is declared as one in which alone items of a cluster differ")
    if design is None:
        told.append("class-design sensitivity and associations: they need the vectors behind the scores")
    told.append("after review: how often reviewers overturn decisions, by group, is not known to this audit")
    return tuple(told)


def _limits(policy: Policy, block: Block, sample: Sample) -> tuple[str, ...]:
    told = [
        f"{one.name} is as {one.source} says"
        + ("; agreement among them is not known" if one.agreement is None else f", who agree to {one.agreement:g}")
        for one in block.attributes
    ]
    told.append(
        f"rates are of these {len(sample)} items in {sample.clusters} clusters, not of the traffic; the audit data says nothing of how they were sampled"
    )
    told.append("verdicts are about each tolerance, which is a choice: who made it and why stands beside it")
    if policy.scope.surfaces:
        told.append(f"outside {', '.join(policy.scope.surfaces)} nothing was measured")
    return tuple(told)

"""The whole audit of one policy: harms against their tolerances, and everything that stands beside a verdict."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray

import moderation
from moderation.audit.article import article_15
from moderation.audit.counterfactual import compare_counterfactuals
from moderation.audit.design import Design, associate, vary_design
from moderation.audit.earlier import Past, failures, recall, registrations, since
from moderation.audit.harms import assess_harms, explore_intersections
from moderation.audit.limits import limits, not_assessed
from moderation.audit.looked_at import look_at
from moderation.audit.result import Association, Audit, FunctionalTest, Sensitivity, overall
from moderation.audit.sample import Sample
from moderation.policy.audit_block import Audit as Block
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What an audit is asked beside its sample; `design` None where the vectors are not at hand.

    `order` names all actions, weakest first; `proposed` holds unit vectors of contrast phrases to try, by phrase; `tests` is the report of
    the policy's tests as its JSON has it, `earlier` an audit to compare with, `before` the one whose place this takes; `inputs` are the
    files that the sample stands in, as policy/inputs.py names them.
    """

    order: Sequence[str]
    date: str = ""
    by: str = ""
    command: str = ""
    design: Design | None = None
    proposed: Mapping[str, NDArray[np.float32]] | None = None
    tests: Mapping[str, Any] | None = None
    earlier: Past | None = None
    before: Past | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


def assess(policy: Policy, block: Block, lock: Lock, sample: Sample, request: Request) -> Audit:
    """The audit of a certified lock on judged items; the same inputs give the same audit, to the last digit."""
    order, design = request.order, request.design
    harms = assess_harms(block, sample, order=order, seed=request.seed)
    sensitivity: tuple[Sensitivity, ...] = ()
    associations: tuple[Association, ...] = ()
    if design is not None:
        sensitivity = vary_design(policy, block, sample, design, order=order, proposed=request.proposed)
        associations = associate(policy, block, sample, design, seed=request.seed)
    registered, data = registration(block), _data(sample)
    registered_before = registrations(registered, data, request.date, request.before)
    tests = _functional(request.tests, lock)
    found = Audit(
        policy=policy.id,
        title=policy.title,
        version=policy.version,
        revision=lock.revision,
        encoder=lock.encoder_identity,
        registered=registered,
        registrations=registered_before,
        failures=failures(lock.revision, data, request.before),
        data=data,
        inputs=request.inputs,
        sampling=block.sampling,
        agreement=block.agreement,
        date=request.date,
        by=request.by,
        verdict=overall(harms),
        items=len(sample),
        violating=int(sample.target.sum()),
        clusters=sample.clusters,
        excluded=sample.excluded,
        attributes=tuple(look_at(one, sample, order) for one in block.attributes),
        harms=harms,
        intersections=explore_intersections(block, sample, order=order),
        counterfactuals=tuple(
            compare_counterfactuals(
                sample, name, others=[one.name for one in block.attributes if one.name != name], order=order
            )
            for name in block.counterfactuals
        ),
        sensitivity=sensitivity,
        associations=associations,
        tests=tests,
        article_15=article_15(policy, block, lock, sample),
        earlier=None,
        not_assessed=not_assessed(policy, block, sample, harms, design=design, tests=tests),
        limits=limits(policy, block, sample, registered_before),
        versions={
            "moderation": moderation.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
        },
        command=request.command,
    )
    return replace(found, earlier=since(recall(found.to_dict()), request.earlier)) if request.earlier else found


def registration(block: Block) -> str:
    """SHA-256 of what was fixed in advance: harms, tolerances, attributes, correction."""
    plain = block.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _data(sample: Sample) -> str:
    """SHA-256 of what the audit looks at: each item's content, target, cluster and groups, whatever their order."""
    groups = [sample.groups[name] for name in sorted(sample.groups)]
    stated = [[*one.names, ""] for one in groups]  # the last one where it is not stated
    named = zip(
        *([names[code] for code in one.codes.tolist()] for names, one in zip(stated, groups, strict=True)), strict=True
    )
    rows = zip(sample.ids, sample.target.tolist(), sample.cluster.tolist(), named, strict=True)
    lines = sorted(f"{digest}\t{target}\t{cluster}\t" + "\t".join(names) for digest, target, cluster, names in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _functional(report: Mapping[str, Any] | None, lock: Lock) -> tuple[FunctionalTest, ...]:
    """The policy's tests, where they were run on this very revision."""
    if report is None or report.get("revision") != lock.revision:
        return ()
    names = [one.name for one in fields(FunctionalTest)]
    return tuple(FunctionalTest(*(str(one.get(name, "")) for name in names)) for one in report.get("results", ()))

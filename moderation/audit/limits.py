"""What an audit did not assess, and what its figures are not about: everything that silence would let pass for fine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moderation.audit.design import Design
from moderation.audit.earlier import Registration
from moderation.audit.result import FunctionalTest, HarmResult
from moderation.audit.sample import Sample
from moderation.errors import counted
from moderation.policy.audit_block import Audit as Block
from moderation.policy.audit_block import AuditAttribute
from moderation.policy.schema import Policy


def not_assessed(
    policy: Policy,
    block: Block,
    sample: Sample,
    harms: Sequence[HarmResult],
    *,
    design: Design | None,
    tests: Sequence[FunctionalTest],
) -> tuple[str, ...]:
    """One line for everything that could not be looked at, and why."""
    told = [f"{one.name} by {one.attribute}: {one.reason}" for one in harms if not one.gaps]
    told += _not_in_the_data(policy, block, sample)
    if not block.intersections and len(block.attributes) > 1:
        told.append("intersections of attributes: none is declared")
    if not block.counterfactuals:
        told.append("counterfactual pairs: no attribute is declared as one in which alone items of a cluster differ")
    if design is None:
        told.append("class-design sensitivity and associations: they need the vectors behind the scores")
    elif design.head.anchor is not None and not design.head.anchor.any():
        told.append(
            "class-design sensitivity: this classifier was fitted on targets alone, so no phrase moves its scores"
        )
    if not tests:
        told.append(
            "functional tests: no report of this revision lies beside the lock; moderation policy test leaves one"
        )
    return tuple(told)


def _not_in_the_data(policy: Policy, block: Block, sample: Sample) -> Iterator[str]:
    for one in block.attributes:
        unknown = int((sample.groups[one.name].codes < 0).sum())
        if unknown:
            yield f"{one.name}: not stated by {unknown:,} of {counted(len(sample), 'item')}, and so in no group"
    for reason, count in sample.excluded.items():
        yield f"{counted(count, 'item')}: {reason}"
    if sample.target.all() or not sample.target.any():
        sort = "violating" if sample.target.any() else "benign"
        yield f"ranking and calibration: every one of {counted(len(sample), 'item')} is {sort}, so nothing tells one kind from the other"
    if not ((sample.outcome >= 0) & (sample.force > 0)).any():
        yield _unreviewed(block)
    if len(policy.scope.languages) != 1 and all(one.about != "language" for one in block.attributes):
        yield "error rates by language: no attribute is declared that is about the language"


def limits(policy: Policy, block: Block, sample: Sample, registrations: Sequence[Registration]) -> tuple[str, ...]:
    """One line for each thing that the figures rest on or do not reach."""
    told = [_source(one) for one in block.attributes]
    agreed = (
        "how far several people agree on them is not known"
        if block.agreement is None
        else f"people agree on them to {block.agreement:g}"
    )
    told.append(f"targets are as the manifest says; {agreed}")
    drawn = (
        "the policy says nothing of how they were drawn" if block.sampling is None else f"drawn so: {block.sampling}"
    )
    told.append(
        f"rates are of {counted(len(sample), 'item')} in {counted(sample.clusters, 'cluster')}, not of the traffic; {drawn}"
    )
    told.append("verdicts are about each tolerance, which is a choice: who made it and why stands beside it")
    others = len(registrations) - 1
    if others:
        told.append(
            f"these items were audited before under {counted(others, 'other set')} of harms and tolerances, first on "
            f"{registrations[0].date or 'a day not known'}: what was fixed after looking is no registration"
        )
    if policy.scope.surfaces:
        told.append(f"outside {', '.join(policy.scope.surfaces)} nothing was measured")
    return tuple(told)


def _source(one: AuditAttribute) -> str:
    agreed = "agreement among them is not known" if one.agreement is None else f"they agree to {one.agreement:g}"
    return f"{one.name} is as told by {one.source}; {agreed}"


def _unreviewed(block: Block) -> str:
    if block.review is None:
        return "after review: how often reviewers overturn decisions, by group; audit.review would name the attributes that say so"
    return f"after review: no item that is acted on states {block.review.outcome}"

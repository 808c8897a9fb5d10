"""Class-design sensitivity and association: what the choice of phrases, not the pictures, does to groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moderation.audit.cells import LEAST_CLUSTERS, count_cells
from moderation.audit.gaps import adjust
from moderation.audit.harms import measure
from moderation.audit.permutation import permutation_p
from moderation.audit.result import Association, Sensitivity
from moderation.audit.sample import UNKNOWN, Floats, Groups, Sample, distinct
from moderation.detector.head import Head
from moderation.detector.tiles import Vectors
from moderation.policy.audit_block import Audit as Block
from moderation.policy.decide import REVIEW
from moderation.policy.schema import Concept, Policy

NEAREST_SHARE, NEAREST_LEAST = 0.1, 20
# What people write where they do not know: such items are of no group that a phrase could call up. (An audit's verdicts count them as the manifest says.)
NOT_KNOWN = frozenset(
    ["unknown", "unsaid", "unstated", "unspecified", "undisclosed", "not stated", "not known", "not said"]
)


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The classifier behind the audited decisions, the vectors it saw, float16 [n, d] in the sample's order, and its cuts by action."""

    head: Head
    vectors: Vectors
    cuts: Mapping[str, float]


def vary_design(
    policy: Policy,
    block: Block,
    sample: Sample,
    design: Design,
    *,
    order: Sequence[str],
    proposed: Mapping[str, NDArray[np.float32]] | None = None,
) -> tuple[Sensitivity, ...]:
    """How every gap changes when each contrast concept is dropped, or each of `proposed` (unit vectors by phrase) is added.

    Every cut moves so that it takes as many items as before: what changes is who. The last contrast concept is never dropped.
    """
    heads = {f"without {one.id}": _without(design.head, policy, one) for one in policy.concepts.contrast}
    if len(policy.concepts.contrast) < 2:
        heads = {}
    heads |= {
        f"with {phrase!r}": _with(design.head, design.vectors, vector) for phrase, vector in (proposed or {}).items()
    }
    before = _largest_gaps(block, sample, order)
    found = []
    for change, head in heads.items():
        if head is None:
            continue
        after = _largest_gaps(block, _decided_by(head, sample, design, order), order)
        found += [Sensitivity(change, *key, before[key], after[key]) for key in before if key in after]
    return tuple(found)


def associate(
    policy: Policy, block: Block, sample: Sample, design: Design, *, seed: int = 0
) -> tuple[Association, ...]:
    """Each violating phrase as a query over the audited items: which group it retrieves beyond that group's share.

    As So-B-IT does (Hamidieh et al. 2024), with a permutation test over clusters, corrected by Holm over phrases and attributes.
    """
    phrases = list(dict.fromkeys(one for concept in policy.concepts.violating for one in concept.phrases))
    found, chances = [], []
    for phrase, direction in zip(phrases, design.head.violating, strict=True):
        likeness = design.vectors.astype(np.float32) @ direction
        for attribute in block.attributes:
            groups = sample.groups[attribute.name]
            codes = _said(groups)
            known = codes >= 0
            compared = _compared(sample, codes, len(groups.names))
            if len(compared) < 2:
                continue
            count = min(max(int(NEAREST_SHARE * known.sum()), NEAREST_LEAST), int(known.sum()))
            near = np.zeros(len(sample), np.bool_)
            near[np.nonzero(known)[0][np.argsort(-likeness[known], kind="stable")[:count]]] = True
            event = near[known].astype(np.float64)
            chances.append(permutation_p(codes[known], event, sample.cluster[known], groups=compared, seed=seed))
            shares = np.bincount(codes[near], minlength=len(groups.names)) / count
            whole = np.bincount(codes[known], minlength=len(groups.names)) / known.sum()
            skew = np.full(len(shares), -np.inf)
            there = whole > 0
            skew[there] = np.log(np.maximum(shares[there], 1e-12) / whole[there])
            top = max(compared, key=lambda place: float(skew[place]))
            name = groups.names[top]
            values = float(shares[top]), float(whole[top]), float(skew[top])
            found.append(Association(phrase, attribute.name, count, name, *values, p=1.0))
    corrected = adjust(chances, "holm")
    return tuple(replace(one, p=p) for one, p in zip(found, corrected, strict=True))


def _said(groups: Groups) -> NDArray[np.int64]:
    """Each item's group, UNKNOWN also where its name says that it is not known."""
    unsaid = [place for place, name in enumerate(groups.names) if name.casefold().replace("_", " ") in NOT_KNOWN]
    return np.where(np.isin(groups.codes, unsaid), UNKNOWN, groups.codes)


def _compared(sample: Sample, codes: NDArray[np.int64], count: int) -> list[int]:
    return [one for one in range(count) if distinct(sample.cluster[codes == one]) >= LEAST_CLUSTERS]


def _largest_gaps(block: Block, sample: Sample, order: Sequence[str]) -> dict[tuple[str, str], float]:
    """The largest difference of compared groups, by harm and attribute, where two can be compared."""
    gaps = {}
    for harm in block.harms:
        counted = measure(harm, sample, order)
        for attribute in block.attributes:
            groups = sample.groups[attribute.name]
            cells = count_cells(sample, groups, eligible=counted.eligible, event=counted.event)
            rates = cells.rate[cells.compared]
            if len(rates) > 1:
                gaps[harm.name, attribute.name] = float(rates.max() - rates.min())
    return gaps


def _decided_by(head: Head, sample: Sample, design: Design, order: Sequence[str]) -> Sample:
    """The sample as this head decides it, every cut taking as many items as it took of the head in use."""
    now, then = head.score(design.vectors).values, design.head.score(design.vectors).values
    force = np.zeros(len(sample), np.int64)
    for action, cut in design.cuts.items():
        taken = int((then >= cut).sum())
        fired = np.zeros(len(sample), np.bool_)
        fired[np.argsort(-now, kind="stable")[:taken]] = True
        force = np.where(fired, np.maximum(force, order.index(action)), force)
    review = force == order.index(REVIEW) if REVIEW in order else np.zeros(len(sample), np.bool_)
    return replace(sample, score=now, force=force, review=review)


def _without(head: Head, policy: Policy, concept: Concept) -> Head | None:
    """The head without one contrast concept's phrases; None where nothing would be left, or the head does not list phrases so."""
    phrases = list(dict.fromkeys(one for each in policy.concepts.contrast for one in each.phrases))
    keep = np.array([phrase not in concept.phrases for phrase in phrases], np.bool_)
    if len(keep) != len(head.contrast) or not keep.any():
        return None
    every = np.concatenate([np.ones(len(head.violating), np.bool_), keep])
    weights = None if head.weights is None else head.weights[every]
    return replace(
        head, contrast=head.contrast[keep], gain=head.gain[every], offset=head.offset[every], weights=weights
    )


def _with(head: Head, vectors: Vectors, phrase: NDArray[np.float32]) -> Head:
    """The head with one more contrast phrase, normalised and weighed as the others are on average: the bank itself is not at hand."""
    first = len(head.violating)
    gain, offset = head.gain, head.offset
    level = vectors.astype(np.float32).mean(axis=0)
    shift = float((offset[first:] - head.contrast @ level).mean()) if gain.std() or offset.any() else 0.0
    own: Floats = np.array([float(phrase @ level) + shift if shift or offset.any() else 0.0])
    weights = None if head.weights is None else np.append(head.weights, head.weights[first:].mean())
    return replace(
        head,
        contrast=np.concatenate([head.contrast, phrase[None]]).astype(np.float32),
        gain=np.append(gain, gain[first:].mean()),
        offset=np.append(offset, own),
        weights=weights,
    )

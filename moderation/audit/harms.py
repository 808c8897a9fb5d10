"""Each pre-registered harm in each attribute: counted, compared, tested, and given its verdict; and intersections, to explore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from moderation.audit.cells import Cells, count_cells
from moderation.audit.conclusion import in_plain_words, tell_reason, tell_why_not
from moderation.audit.curves import gap_curve
from moderation.audit.gaps import Verdict, adjust, compare, decide
from moderation.audit.permutation import permutation_p
from moderation.audit.pooling import chances, discovered, pool
from moderation.audit.power import NOMINAL, POWER, Beside, clusters_needed, detectable
from moderation.audit.result import Cell, FourFifths, Gap, HarmResult, Intersection
from moderation.audit.sample import Flags, Floats, Groups, Sample
from moderation.audit.screening import screen
from moderation.policy.audit_block import Audit as Block
from moderation.policy.audit_block import Harm

LISTED = 200  # differences that a result names, the largest ones: of hundreds of groups there are tens of thousands
# Nothing passes where more of a group than this could not be judged: what is missing may be just what differs.
LOST_SHARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """What one harm counts: `event` among `eligible`, bool [n]."""

    eligible: Flags
    event: Flags


def measure(harm: Harm, sample: Sample, order: Sequence[str]) -> Measure:
    """`fpr`: benign items acted on; `fnr`: violating items not; `review_share`: any items sent to review.

    Acted on means the harm's action or a stronger one by `order`, weakest first; without an action, anything but the weakest.
    """
    acted = sample.force >= (1 if harm.action is None else order.index(harm.action))
    if harm.metric == "fpr":
        return Measure(~sample.target, acted)
    if harm.metric == "fnr":
        return Measure(sample.target, ~acted)
    return Measure(np.ones(len(sample), np.bool_), sample.review)


def assess_harms(block: Block, sample: Sample, *, order: Sequence[str], seed: int = 0) -> tuple[HarmResult, ...]:
    """Every harm in every attribute, in the policy's order: one family, over which errors are corrected."""
    family = len(block.harms) * len(block.attributes)
    found = [
        _assess(harm, sample, sample.groups[attribute.name], order=order, family=family, seed=seed)
        for harm in block.harms
        for attribute in block.attributes
    ]
    tested = [place for place, one in enumerate(found) if one[0].p is not None]
    # What could not be tested still counts to the family: it was declared.
    declared = [*(found[place][0].p or 1.0 for place in tested), *[1.0] * (family - len(tested))]
    adjusted = dict(zip(tested, adjust(declared, block.correction), strict=False))
    return tuple(
        _conclude(result, adjusted.get(place), sample.stated, may_pass=may_pass)
        for place, (result, may_pass) in enumerate(found)
    )


def explore_intersections(block: Block, sample: Sample, *, order: Sequence[str]) -> tuple[Intersection, ...]:
    """Every harm in every declared intersection, corrected over all that is explored; nothing follows for the verdict."""
    looked = [
        (harm, sample.crossed(names), sample.unseen(names)) for names in block.intersections for harm in block.harms
    ]
    counted = [measure(harm, sample, order) for harm, _, _ in looked]
    cells = [
        count_cells(sample, groups, eligible=one.eligible, event=one.event)
        for (_, groups, _), one in zip(looked, counted, strict=True)
    ]
    corrected, family = discovered([chances(one) for one in cells])
    return tuple(
        Intersection(
            harm=harm.name,
            attributes=groups.attribute,
            cells=tell_cells(one, groups, tolerance=harm.tolerance, tests=max(len(groups.names), 1)),
            stands_out=tuple(None if np.isnan(p) else float(p) for p in found),
            family=family,
            unseen=unseen,
        )
        for (harm, groups, unseen), one, found in zip(looked, cells, corrected, strict=True)
    )


def tell_cells(cells: Cells, groups: Groups, *, tolerance: float, tests: int) -> tuple[Cell, ...]:
    """The cells by name; `tests` share the error of the smallest difference that could be detected."""
    low, high = cells.interval()
    rate, pooled, compared = cells.rate, pool(cells), cells.compared
    found = _detectable(cells, tolerance, tests)
    told = []
    for place, name in enumerate(groups.names):
        told.append(
            Cell(
                group=name,
                items=int(cells.items[place]),
                events=int(cells.events[place]),
                clusters=int(cells.clusters[place]),
                effective=float(cells.effective[place]),
                rate=None if np.isnan(rate[place]) else float(rate[place]),
                low=float(low[place]),
                high=float(high[place]),
                pooled=None if np.isnan(pooled[place]) else float(pooled[place]),
                detectable=float(found[place]),
                compared=bool(compared[place]),
            )
        )
    return tuple(told)


def _assess(
    harm: Harm, sample: Sample, groups: Groups, *, order: Sequence[str], family: int, seed: int
) -> tuple[HarmResult, bool]:
    """The result but for its verdict, and whether it may pass: every group was compared, and few of its items were lost."""
    counted = measure(harm, sample, order)
    cells = count_cells(sample, groups, eligible=counted.eligible, event=counted.event)
    pairs = compare(cells, family=family)
    names, places = groups.names, np.nonzero(cells.compared)[0]
    p = None
    if pairs:
        rows = counted.eligible & (groups.codes >= 0)
        event = counted.event[rows].astype(np.float64)
        p = permutation_p(groups.codes[rows], event, sample.cluster[rows], groups=places.tolist(), seed=seed)
    screened = screen(cells)
    result = HarmResult(
        name=harm.name,
        metric=harm.metric,
        action=harm.action,
        attribute=groups.attribute,
        tolerance=harm.tolerance,
        set_by=harm.set_by,
        why=harm.why,
        required=harm.required,
        verdict=Verdict.NOT_ASSESSED,
        reason="",
        plain="",
        p=p,
        p_adjusted=None,
        family=family,
        needed=clusters_needed(float(cells.events.sum() / max(cells.items.sum(), 1.0)), harm.tolerance),
        pairs=len(pairs),
        gaps=tuple(
            Gap(names[one.a], names[one.b], one.difference, one.low, one.high, one.lower, one.upper) for one in pairs
        ),
        cells=tell_cells(cells, groups, tolerance=harm.tolerance, tests=max(len(pairs), 1) * family),
        four_fifths=None
        if screened is None or screened.ratio is None
        else FourFifths(
            names[screened.smallest],
            names[screened.largest],
            screened.ratio,
            screened.low,
            screened.high,
            screened.fires,
            screened.by_luck,
        ),
        curve=()
        if harm.metric == "review_share"
        else gap_curve(sample, groups, eligible=counted.eligible, missed=harm.metric == "fnr"),
    )
    return result, bool(cells.compared.all()) and not _lost_groups(sample, groups)


def _detectable(cells: Cells, tolerance: float, tests: int) -> Floats:
    """For each compared group, the smallest difference to the largest other one that could be found; 1 for what is not compared."""
    if not cells.compared.any():
        return np.ones(len(cells.items))
    sizes = np.where(cells.compared, cells.effective, 0.0)
    largest = int(np.argmax(sizes))
    second = int(np.argmax(np.where(np.arange(len(sizes)) == largest, -1.0, sizes)))
    other = np.where(np.arange(len(sizes)) == largest, second, largest)
    common = np.full(len(sizes), cells.events.sum() / max(float(cells.items.sum()), 1.0))
    beside = Beside(sizes, sizes[other], common, cells.correlation[np.arange(len(sizes)), other])
    clustered = bool((cells.clusters < cells.items).any())
    return detectable(beside, tolerance=tolerance, tests=tests, power=NOMINAL if clustered else POWER)


def _lost_groups(sample: Sample, groups: Groups) -> list[str]:
    """The groups, those not stated included, of which too many items could not be judged."""
    lost = sample.lost.get(groups.attribute, {})
    seen = {name: int((groups.codes == place).sum()) for place, name in enumerate(groups.names)}
    return [name for name, count in lost.items() if count > LOST_SHARE * (count + seen.get(name, 0))]


def _conclude(result: HarmResult, adjusted: float | None, stated: Sequence[str], *, may_pass: bool) -> HarmResult:
    if not result.gaps or adjusted is None:
        return replace(result, reason=tell_why_not(result, stated))
    verdict = decide(result.gaps, adjusted, result.tolerance, complete=may_pass)
    found = replace(result, verdict=verdict, p_adjusted=adjusted)
    # The words know all differences; the result lists the largest.
    reason, plain = tell_reason(found, may_pass=may_pass), in_plain_words(found)
    return replace(found, reason=reason, plain=plain, gaps=found.gaps[:LISTED])

"""Who was looked at: every attribute with its groups, how many there are, and what happens to each, whatever harm was declared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moderation.audit.cells import Cells, count_cells
from moderation.audit.curves import reliability
from moderation.audit.overturns import count_overturns
from moderation.audit.ranking import rank_groups
from moderation.audit.result import Attribute, GroupCount, Rate
from moderation.audit.sample import Groups, Sample
from moderation.policy.audit_block import AuditAttribute

_NOTHING = Rate(0, 0, None, 0.0, 1.0)


def look_at(declared: AuditAttribute, sample: Sample, order: Sequence[str]) -> Attribute:
    """One attribute as the policy declares it and as the sample has it; `order` names the actions, weakest first."""
    groups = sample.groups[declared.name]
    return Attribute(
        name=declared.name,
        about=declared.about,
        source=declared.source,
        agreement=declared.agreement,
        unknown=int((groups.codes < 0).sum()),
        groups=_counts(sample, groups, order),
        rankings=rank_groups(sample, groups),
        reliability=reliability(sample, groups),
        overturns=count_overturns(sample, groups),
    )


def _counts(sample: Sample, groups: Groups, order: Sequence[str]) -> tuple[GroupCount, ...]:
    lost, acted = sample.lost.get(groups.attribute, {}), sample.force > 0
    sides = [
        (~sample.target, acted),
        (sample.target, ~acted),
        (np.ones(len(sample), np.bool_), sample.review),
    ]
    cells = [count_cells(sample, groups, eligible=eligible, event=event) for eligible, event in sides]
    wrongful, missed, review = (_rates(one) for one in cells)
    found = []
    for place, name in enumerate(groups.names):
        force = np.bincount(sample.force[groups.codes == place], minlength=len(order))
        found.append(
            GroupCount(
                group=name,
                items=review[place].items,
                violating=missed[place].items,
                benign=wrongful[place].items,
                clusters=int(cells[2].clusters[place]),
                lost=lost.get(name, 0),
                actions={action: int(count) for action, count in zip(order, force, strict=True) if count},
                wrongful=wrongful[place],
                missed=missed[place],
                review=review[place],
            )
        )
    # Groups of which nothing at all could be judged are groups all the same.
    gone = [(name, count) for name, count in lost.items() if name not in groups.names]
    return (*found, *(GroupCount(name, 0, 0, 0, 0, count, {}, *[_NOTHING] * 3) for name, count in gone))


def _rates(cells: Cells) -> list[Rate]:
    low, high = cells.interval()
    return [
        Rate(int(events), int(items), None if np.isnan(rate) else float(rate), float(down), float(up))
        for events, items, rate, down, up in zip(cells.events, cells.items, cells.rate, low, high, strict=True)
    ]

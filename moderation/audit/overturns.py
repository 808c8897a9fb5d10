"""After review: how often reviewers overturn what the policy does, by group, where the audit data says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moderation.audit.cells import cells_of
from moderation.audit.sample import Groups, Sample


@dataclass(frozen=True, slots=True)
class Overturn:
    """Of one group's items that the policy acts on: how many a reviewer looked at, and how many decisions were overturned.

    `rate` is the share overturned, each item counting for as many as it stands for; `low` and `high` are Wilson's 95 % interval at the
    `effective` number of independent items. None where nobody looked.
    """

    group: str
    acted_on: int
    reviewed: int
    overturned: int
    clusters: int
    effective: float
    rate: float | None
    low: float | None
    high: float | None


def count_overturns(sample: Sample, groups: Groups) -> tuple[Overturn, ...]:
    """One row for each group; () where no reviewer's outcome is known of any item that is acted on."""
    acted = (sample.force > 0) & (groups.codes >= 0)
    rows, count = acted & (sample.outcome >= 0), len(groups.names)
    if not rows.any():
        return ()
    codes, event = groups.codes[rows], sample.outcome[rows].astype(np.float64)
    cells = cells_of(codes, event, sample.cluster[rows], groups=count, weight=sample.weight[rows])
    low, high = cells.interval()
    of_group = np.bincount(groups.codes[acted], minlength=count)
    reviewed, overturned = np.bincount(codes, minlength=count), np.bincount(codes, event, count)
    return tuple(
        Overturn(
            group=name,
            acted_on=int(of_group[place]),
            reviewed=int(reviewed[place]),
            overturned=int(overturned[place]),
            clusters=int(cells.clusters[place]),
            effective=float(cells.effective[place]),
            rate=float(cells.rate[place]) if reviewed[place] else None,
            low=float(low[place]) if reviewed[place] else None,
            high=float(high[place]) if reviewed[place] else None,
        )
        for place, name in enumerate(groups.names)
    )

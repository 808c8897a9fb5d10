"""Rates by group, with intervals that know that items of one cluster are not independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array

from moderation.audit.sample import Codes, Flags, Floats, Groups, Sample
from moderation.compiler.intervals import wilson

# A group with fewer independent units of evidence is listed and not compared: its rate says next to nothing.
LEAST_CLUSTERS = 10
DISPLAYED = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Of each of k groups: eligible items, events among them, clusters, and the `effective` number of independent items, float64 [k].

    `effective` is the number over the design effect (Kish 1965), the cluster-robust variance of the rate over the binomial one,
    never more than the items; where nothing or everything is an event, and so no variance is seen, the number of clusters.
    `correlation` [k, k] is that of two groups' rates through the clusters that they share.
    """

    items: Floats
    events: Floats
    clusters: Floats
    effective: Floats
    correlation: Floats

    @property
    def rate(self) -> Floats:
        """Share of eligible items that are events; NaN where a group has none that are eligible."""
        rate: Floats = np.divide(self.events, self.items, out=np.full(len(self.items), np.nan), where=self.items > 0)
        return rate

    @property
    def compared(self) -> Flags:
        """Which groups have enough clusters to be compared."""
        enough: Flags = self.clusters >= LEAST_CLUSTERS
        return enough

    def interval(self, confidence: float = DISPLAYED) -> tuple[Floats, Floats]:
        """Wilson's interval of each rate, at the effective numbers; (0, 1) where nothing is eligible."""
        share = np.nan_to_num(self.rate)
        return wilson(share * self.effective, self.effective, confidence)


def count_cells(sample: Sample, groups: Groups, *, eligible: Flags, event: Flags) -> Cells:
    """The cells of one metric: `event` among `eligible`, items of unknown group left out."""
    rows = eligible & (groups.codes >= 0)
    return cells_of(groups.codes[rows], event[rows].astype(np.float64), sample.cluster[rows], groups=len(groups.names))


def cells_of(codes: Codes, event: Floats, cluster: Codes, *, groups: int, weight: Floats | None = None) -> Cells:
    """The cells of n items, each of one of `groups` groups and of one cluster, both numbered from 0.

    With `weight` [n], positive, `items` and `events` are sums of it, and no more than Kish's number (Σw)²/Σw² of items is effective.
    """
    weight = np.ones(len(codes)) if weight is None else weight
    # Most clusters hold few of the groups, so tables of clusters by groups are kept sparse. `tocsr` adds up what stands in one place; a CSR array made at once does not with scipy 1.13.
    shape = (int(cluster.max(initial=-1)) + 1, groups)
    size, rest = (coo_array((one, (cluster, codes)), shape=shape).tocsr() for one in (weight, weight * event))
    group = size.indices
    items, events = (np.bincount(group, one.data, groups).astype(np.float64) for one in (size, rest))
    clusters = np.bincount(group, minlength=groups).astype(np.float64)
    squared = np.bincount(codes, weight**2, groups).astype(np.float64)
    rate = np.divide(events, items, out=np.zeros(groups), where=items > 0)
    rest.data -= rate[group] * size.data
    products = (rest.T @ rest).toarray()
    effective = _effective(items, clusters, rate, squared, np.diag(products))
    return Cells(items, events, clusters, effective, _correlation(products))


def _effective(items: Floats, clusters: Floats, rate: Floats, squared: Floats, squares: Floats) -> Floats:
    most = np.divide(items**2, squared, out=np.zeros(len(items)), where=squared > 0)
    correction = np.divide(clusters, clusters - 1.0, out=np.ones(len(items)), where=clusters > 1)
    binomial = squared * rate * (1.0 - rate)
    seen = (binomial > 0) & (clusters > 1)
    effect = np.divide(correction * squares, binomial, out=np.ones(len(items)), where=seen)
    return np.where(seen, most / np.maximum(effect, 1.0), np.minimum(clusters, most))


def _correlation(products: Floats) -> Floats:
    spread = np.sqrt(np.outer(np.diag(products), np.diag(products)))
    return np.divide(products, spread, out=np.zeros_like(products), where=spread > 0)

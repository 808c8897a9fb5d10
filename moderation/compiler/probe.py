"""L3: a logistic probe held to the text: it may leave the policy's own margin only as far as the targets pay for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from moderation.detector.head import Head
from moderation.encoder.base import Vectors

Floats = NDArray[np.float64]

# Pulls towards the text, strongest first. None of it is the plain logistic (L4), with the penalty that the last ones have.
PULLS = (30.0, 10.0, 3.0, 1.0, 0.0)
_PLAIN_PENALTY = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Fit targets: vectors float16 [n, d], `violating` bool [n], the cluster of each as a number, and weights.

    Weights sum to 1 within each class, shared equally by its clusters: a cluster counts once however many pictures it has.
    """

    vectors: Vectors
    violating: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    weights: Floats

    def __len__(self) -> int:
        return len(self.violating)

    @property
    def by_cluster(self) -> Floats:
        """Weights [n] under which every cluster counts 1 in each of its classes."""
        counts = [len(np.unique(self.clusters[self.violating == side])) for side in (False, True)]
        return self.weights * np.where(self.violating, counts[1], counts[0])

    def take(self, rows: NDArray[np.int64]) -> Targets:
        """Some of the targets, weighed anew."""
        return targets(self.vectors[rows], self.violating[rows], self.clusters[rows])

    def relabelled(self, violating: NDArray[np.bool_]) -> Targets:
        """The same content under other targets."""
        return targets(self.vectors, violating, self.clusters)


def targets(vectors: Vectors, violating: NDArray[np.bool_], clusters: NDArray[np.int64]) -> Targets:
    """Targets with their weights."""
    weights = np.zeros(len(violating))
    for side in (False, True):
        mine = violating == side
        _, inverse, sizes = np.unique(clusters[mine], return_inverse=True, return_counts=True)
        if len(sizes):
            weights[mine] = 1.0 / sizes[inverse] / len(sizes)
    return Targets(vectors, violating, clusters, weights)


def fit_probe(base: Head, fit: Targets, pull: float) -> Head:
    """The L3 head that extends `base` (L0 or L1) by targets; `pull` is the penalty on leaving it, 0 the plain logistic.

    Minimises the weighted logistic loss of a · margin + v · x + b plus a penalty on v alone, so that a strong pull gives
    the base's ranking back.
    """
    return fit_probes(base, fit, [pull])[0]


def fit_probes(base: Head, fit: Targets, pulls: Sequence[float]) -> list[Head]:
    """One head per pull, as `fit_probe` makes it; what does not depend on the pull is done once."""
    margin, each = base.raw(fit.vectors), fit.by_cluster / fit.by_cluster.sum()
    middle = float(each @ margin)
    width = float(np.sqrt(each @ (margin - middle) ** 2)) or 1.0
    mean, inner, back = _span(fit.vectors.astype(np.float64), each)
    heads = []
    at = np.zeros(2 + inner.shape[1])
    at[0] = 1.0
    for pull in pulls:
        anchored = pull > 0
        features = (margin - middle) / width * anchored
        at = _minimise(features, inner, fit, penalty=pull if anchored else _PLAIN_PENALTY, start=at)
        slope, bias, probe = float(at[0]), float(at[1]), at[2:] @ back
        anchor = slope / width if anchored else 0.0
        shift = bias - float(probe @ mean) - anchor * middle
        head = replace(base, level="L3", centre=0.0, scale=1.0, probe=probe, bias=shift, anchor=np.array([anchor]))
        # Few scores should lie where the sigmoid is flat and rounding to 1e-6 would merge them; of rows, since no ranking hangs on it.
        reach = float(np.quantile(np.abs(head.raw(fit.vectors)), 0.99))
        heads.append(replace(head, scale=max(reach / 6.0, 1e-3)))
    return heads


def _span(vectors: Floats, each: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean [d], coordinates [n, r] in the span of the data at unit total spread, and what maps weights on them back [r, d].

    `each` [n] are the rows' shares in mean and spread. Outside the span nothing can be learned, and few targets make a
    small problem.
    """
    mean = each @ vectors
    centred = vectors - mean
    spread = float(np.sqrt(each @ (centred**2).sum(axis=1))) or 1.0
    centred /= spread
    if len(centred) >= centred.shape[1]:
        return mean, centred, np.eye(centred.shape[1]) / spread
    values, axes = np.linalg.eigh(centred @ centred.T)
    kept = values > values.max(initial=0.0) * 1e-9
    lengths = np.sqrt(values[kept])
    return mean, axes[:, kept] * lengths, (axes[:, kept] / lengths).T @ centred / spread


def _minimise(margin: Floats, inner: Floats, fit: Targets, *, penalty: float, start: Floats) -> Floats:
    """Slope, bias and direction, in one array; it starts where the last pull ended."""
    sign = np.where(fit.violating, 1.0, -1.0)
    weights = fit.weights / fit.weights.sum()
    strength = penalty * 1e-3

    def loss(at: Floats) -> tuple[float, Floats]:
        slope, bias, direction = at[0], at[1], at[2:]
        agreed = sign * (slope * margin + inner @ direction + bias)
        pushed = -weights * sign / (1.0 + np.exp(np.clip(agreed, -500.0, 500.0)))
        # The slope is nearly free; its own small penalty keeps it finite where the margin separates the targets.
        value = weights @ np.logaddexp(0.0, -agreed) + strength / 2 * direction @ direction + 5e-4 * slope * slope
        gradient = np.concatenate(
            [
                [pushed @ margin + 1e-3 * slope, pushed.sum()],
                inner.T @ pushed + strength * direction,
            ]
        )
        return float(value), gradient

    # Targets may mute the text's margin but not turn it round.
    bounds = [(0.0, None), *[(None, None)] * (len(start) - 1)]
    options = {"maxiter": 200, "ftol": 1e-7}
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return found

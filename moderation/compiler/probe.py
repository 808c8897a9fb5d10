"""L3: a logistic probe held to the text: it may leave the policy's own margin only as far as the targets pay for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from moderation.detector.head import Head
from moderation.encoder.base import Vectors

Floats = NDArray[np.float64]

# Pulls towards the text, strongest first. None of it is the plain logistic (L4), with the penalty that the last ones have.
PULLS = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.0)
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
    margin = base.raw(fit.vectors)
    vectors = fit.vectors.astype(np.float64)
    mean, middle = vectors.mean(axis=0), float(margin.mean())
    spread = float(np.sqrt(vectors.var(axis=0).sum())) or 1.0
    width = float(margin.std()) or 1.0
    # In the span of the data nothing is lost, and few targets make a small problem.
    centred = (vectors - mean) / spread
    basis = np.linalg.svd(centred, full_matrices=False)[2] if len(centred) < centred.shape[1] else None
    inner = centred if basis is None else centred @ basis.T
    anchored = pull > 0
    slope, direction, bias = _minimise(
        (margin - middle) / width * anchored, inner, fit, pull if anchored else _PLAIN_PENALTY
    )
    probe = (direction if basis is None else basis.T @ direction) / spread
    anchor = slope / width if anchored else 0.0
    head = Head(
        "L3",
        base.violating,
        base.contrast,
        base.gain,
        base.offset,
        base.sharpness,
        floor=base.floor,
        probe=probe,
        bias=bias - float(probe @ mean) - anchor * middle,
        anchor=np.array([anchor]),
    )
    # Few scores should lie where the sigmoid is flat and rounding to 1e-6 would merge them.
    reach = float(np.quantile(np.abs(head.raw(fit.vectors)), 0.99))
    return replace(head, scale=max(reach / 6.0, 1e-3))


def _minimise(margin: Floats, inner: Floats, fit: Targets, penalty: float) -> tuple[float, Floats, float]:
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

    start = np.zeros(2 + inner.shape[1])
    start[0] = 1.0
    # Targets may mute the text's margin but not turn it round.
    bounds = [(0.0, None), *[(None, None)] * (len(start) - 1)]
    options = {"maxiter": 300, "ftol": 1e-9}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return float(found[0]), found[2:], float(found[1])

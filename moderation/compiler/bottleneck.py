"""L5: a sparse sum of what the policy's own phrases see, so that a decision can say what raised its score and what lowered it.

A violating phrase can only raise the score and a contrast phrase only lower it: the author's words set the signs, targets the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from moderation.compiler.heads import gain_of
from moderation.compiler.probe import Targets
from moderation.detector.head import Head

Floats = NDArray[np.float64]

# Penalties on the sum of the weights, as shares of the least one under which all are 0; sparsest first.
PENALTIES = (0.5, 0.25, 0.125, 0.06, 0.03, 0.015)
# How sharply a phrase's contribution bends from 0 into a line. Straight lines did a little better (by 0.006 of average precision on
# our own insults) and a bend this soft no worse than a sharp one, but lines let a contrast phrase raise the score.
_SHARPNESS = 2.0
_LEAST_WEIGHT = 1e-6
# Scores may not lie where the sigmoid is flat and rounding to 1e-6 would merge them.
_REACH = 6.0


def fit_bottleneck(base: Head, fit: Targets, penalty: float) -> Head:
    """The L5 head over the phrases of `base` (L0 or L1), fitted to targets; `penalty` is one of PENALTIES or the like.

    Minimises the weighted logistic loss of bias + the sum of weight · softened phrase, contrast phrases taken as negative, plus the
    penalty on the sum of the weights, none of which may be below 0.
    """
    return fit_bottlenecks(base, fit, [penalty])[0]


def fit_bottlenecks(base: Head, fit: Targets, penalties: Sequence[float]) -> list[Head]:
    """One head per penalty, as `fit_bottleneck` makes it, from the sparsest on."""
    bare = _unweighed(base, fit)
    shown = bare.contributions(fit.vectors)
    sign = np.where(fit.violating, 1.0, -1.0)
    each = fit.weights / fit.weights.sum()
    # With both classes weighing the same, the bias is 0 where no phrase counts yet, and this is how fast each would lower the loss.
    least = max(float((shown.T @ (each * sign)).max()) / 2.0, 0.0)
    heads = []
    at = np.zeros(1 + shown.shape[1])
    for penalty in penalties:
        at = _minimise(shown, sign, each, penalty=penalty * least, start=at)
        weights = np.where(at[1:] > _LEAST_WEIGHT, at[1:], 0.0) if least else np.zeros(shown.shape[1])
        furthest = float(np.abs(shown @ weights + at[0]).max())
        heads.append(replace(bare, weights=weights, bias=float(at[0]), scale=max(furthest / _REACH, 1.0)))
    return heads


def speaks(head: Head) -> bool:
    """Whether any violating phrase counts: without one no decision could be explained by what was seen."""
    return head.weights is not None and bool(head.weights[: len(head.violating)].any())


def _unweighed(base: Head, fit: Targets) -> Head:
    """An L5 head in which every phrase counts 1, in standard deviations of the background, or of the benign targets without one."""
    gain, offset = base.gain, base.offset
    if base.level == "L0":
        phrases = np.concatenate([base.violating, base.contrast]).astype(np.float64)
        benign = fit.take(np.flatnonzero(~fit.violating))
        similarity = benign.vectors.astype(np.float64) @ phrases.T
        offset = benign.weights @ similarity
        gain = gain_of(benign.weights @ (similarity - offset) ** 2, len(np.unique(benign.clusters)))
    return Head("L5", base.violating, base.contrast, gain, offset, _SHARPNESS, weights=np.ones(len(gain)))


def _minimise(shown: Floats, sign: Floats, each: Floats, *, penalty: float, start: Floats) -> Floats:
    """Bias and weights, in one array; it starts where the last penalty ended."""

    def loss(at: Floats) -> tuple[float, Floats]:
        agreed = sign * (shown @ at[1:] + at[0])
        pushed = -each * sign / (1.0 + np.exp(np.clip(agreed, -500.0, 500.0)))
        value = each @ np.logaddexp(0.0, -agreed) + penalty * at[1:].sum()
        return float(value), np.concatenate([[pushed.sum()], shown.T @ pushed + penalty])

    bounds = [(None, None), *[(0.0, None)] * shown.shape[1]]
    options = {"maxiter": 500, "ftol": 1e-9}
    found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    return found

"""A linear probe: what a logistic regression on the vectors learns of the labels, measured on clusters it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.training.evaluation.ranking import Floats
from moderation.training.evaluation.share import Share, share

FOLDS = 5
# Inverse strengths of the penalty, strongest first. The vectors are of unit length, so that they reach further up than CLIP's.
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
_ITERATIONS = 500


@dataclass(frozen=True, slots=True)
class LinearProbe:
    """Accuracy on a fifth of the clusters; `strength` is the inverse penalty that cross-validation on the others chose."""

    accuracy: Share
    mean_per_class: Share
    strength: float
    fitted: int
    classes: int


def linear_probe(images: Floats, labels: NDArray[np.int64], clusters: Sequence[str], *, seed: int = 7) -> LinearProbe:
    """Probe unit vectors `images` [n, d]; every class needs pictures in at least `FOLDS` clusters (see `deal`).

    A fifth of each class's clusters is put aside; of the rest, `FOLDS` folds choose the penalty, the stronger of equals.
    """
    names = np.asarray(clusters, str)
    aside = deal(labels, names, seed=seed) == 0
    fit = ~aside
    folds = deal(labels[fit], names[fit], seed=seed + 1)
    scores = [_cross_validated(images[fit], labels[fit], folds, strength) for strength in STRENGTHS]
    strength = STRENGTHS[int(np.argmax(scores))]
    right = _right(images[fit], labels[fit], images[aside], labels[aside], strength)
    groups = labels[aside].astype(str).tolist()
    tested = names[aside].tolist()
    return LinearProbe(
        share(right, tested), share(right, tested, groups=groups), strength, int(fit.sum()), len(np.unique(labels))
    )


def deal(labels: NDArray[np.int64], clusters: NDArray[np.str_], *, seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """A fold [n] for each picture: clusters stay whole and are dealt class by class, so that every fold has of every class."""
    unique, first, place = np.unique(clusters, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(unique))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(unique), np.int64)
    # Counted within the class, from zero: the first fold is never left without a class that has a cluster.
    kinds = labels[first][order]
    fold[order] = (np.arange(len(order)) - np.searchsorted(kinds, kinds)) % folds
    return fold[place]


def _cross_validated(images: Floats, labels: NDArray[np.int64], folds: NDArray[np.int64], strength: float) -> float:
    right = [
        _right(images[folds != fold], labels[folds != fold], images[folds == fold], labels[folds == fold], strength)
        for fold in np.unique(folds)
    ]
    return float(np.concatenate(right).mean())


def _right(
    images: Floats, labels: NDArray[np.int64], others: Floats, wanted: NDArray[np.int64], strength: float
) -> Floats:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the weakest penalties need not converge to be compared
        model.fit(images.astype(np.float64), labels)
    return np.asarray(model.predict(others.astype(np.float64)) == wanted, np.float64)

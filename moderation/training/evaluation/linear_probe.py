"""A linear probe: what a logistic regression on the vectors learns of the labels, measured on clusters it was not fitted on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
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


def linear_probe(
    images: Floats,
    labels: NDArray[np.int64],
    clusters: Sequence[str],
    *,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> LinearProbe:
    """Probe unit vectors `images` [n, d]; every class needs pictures in at least `FOLDS` clusters, which are never torn apart.

    A fifth is put aside; of the rest, folds choose the penalty, the stronger of equals. `advance` hears of each penalty tried.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    from threadpoolctl import threadpool_limits

    names, vectors = np.asarray(clusters, str), images.astype(np.float64)
    # One thread: the problems are small, and the figures are then the same on any number of cores.
    with threadpool_limits(1), warnings.catch_warnings():
        # The weakest penalties need not converge to be compared, and a class of few clusters may miss a fold of the others.
        warnings.simplefilter("ignore")
        splits = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(vectors, labels, names)
        fit, aside = next(splits)
        folds = StratifiedGroupKFold(FOLDS - 1, shuffle=True, random_state=seed)
        scores = []
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=_ITERATIONS)
            found = cross_val_score(model, vectors[fit], labels[fit], groups=names[fit], cv=folds)
            scores.append(float(np.mean(found)))
            advance(1)
        strength = STRENGTHS[int(np.argmax(scores))]
        model = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(vectors[fit], labels[fit])
        right = np.asarray(model.predict(vectors[aside]) == labels[aside], np.float64)
    tested, groups = names[aside].tolist(), labels[aside].astype(str).tolist()
    mean = share(right, tested, groups=groups)
    return LinearProbe(share(right, tested), mean, strength, len(fit), len(np.unique(labels)))

"""Objects with several pictures each, in a small space: a head that points one way, and fit targets that point another."""

from __future__ import annotations

import numpy as np

from moderation.compiler.heads import plain_head
from moderation.compiler.probe import Targets, targets
from moderation.detector.head import Head

WIDTH = 16


def head(towards: int = 0) -> Head:
    """L0 with one violating phrase, the axis `towards`, and one contrast phrase, the last axis."""
    axes = np.eye(WIDTH, dtype=np.float32)
    return plain_head(axes[towards : towards + 1], axes[-1:])


def objects(rng: np.random.Generator, *, text: float, learned: float, count: int = 12) -> Targets:
    """`count` objects of each class, two pictures each; violating ones lie `text` along axis 0 and `learned` along axis 1."""
    clusters = np.repeat(np.arange(2 * count), 2)
    violating = clusters < count
    raw = rng.normal(size=(2 * count, WIDTH))[clusters] + 0.3 * rng.normal(size=(len(clusters), WIDTH))
    raw[:, :2] += np.outer(violating, (text, learned))
    return targets((raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float16), violating, clusters)


def with_copies(fit: Targets, cluster: int, times: int = 10) -> Targets:
    """The same targets, one cluster's pictures `times` as often."""
    rows = np.repeat(np.arange(len(fit)), np.where(fit.clusters == cluster, times, 1))
    return fit.take(rows)

"""Zero-shot classification: the class whose vector, the mean of its prompts', is nearest to the picture's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Encoder
from moderation.errors import TrainingError
from moderation.training.evaluation.ranking import Floats, places, similarities, within
from moderation.training.evaluation.share import Share, share
from moderation.training.evaluation.vectors import every_text

# The seven that forward selection over the 80 ended with: openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb (MIT).
CLIP_SEVEN = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Top-1 and top-5 over pictures, the mean of the classes' recalls, and each class's own; chance is 1/c and min(5/c, 1)."""

    top1: Share
    top5: Share
    mean_per_class: Share
    per_class: Mapping[str, float]
    classes: int


def zero_shot(
    images: Floats,
    class_vectors: Floats,
    labels: NDArray[np.int64],
    names: Sequence[str],
    clusters: Sequence[str] | None = None,
) -> ZeroShot:
    """Accuracy of unit vectors `images` [n, d] against `class_vectors` [c, d]; `labels` [n] are rows of those, named `names`.

    Levels are dealt fairly: an encoder that sees no difference gets chance, not 0 or 1.
    """
    cosines = similarities(images, class_vectors)
    top1, top5 = hits(cosines, labels, 1), hits(cosines, labels, 5)
    groups = [names[label] for label in labels]
    each = {name: float(top1[labels == row].mean()) for row, name in enumerate(names) if (labels == row).any()}
    return ZeroShot(
        share(top1, clusters), share(top5, clusters), share(top1, clusters, groups=groups), each, len(class_vectors)
    )


def hits(cosines: Floats, labels: NDArray[np.int64], k: int) -> Floats:
    """Chance [n] that the right class is among the first `k` of each row of `cosines` [n, c]."""
    return within(places(cosines, labels[:, None] == np.arange(cosines.shape[1])), k)


def class_vectors(encoder: Encoder, names: Sequence[str], templates: Sequence[str] = CLIP_SEVEN) -> NDArray[np.float64]:
    """Unit vectors [c, d]: for each class the normalised mean of the normalised vectors of its prompts, as CLIP has it.

    Raises TrainingError where a template has no place for the name, or a prompt cannot be encoded.
    """
    for template in templates:
        if "{}" not in template:
            raise TrainingError(f"template {template!r}: no {{}} in it; expected one where the class name goes")
    prompts = [template.replace("{}", name) for name in names for template in templates]
    return mean_vectors(every_text(encoder, prompts).reshape(len(names), len(templates), -1))


def mean_vectors(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """The normalised mean [c, d] of normalised vectors [c, t, d]; each prompt counts alike, whatever its norm."""
    prompts = vectors.astype(np.float64)
    prompts /= np.linalg.norm(prompts, axis=2, keepdims=True)
    means: NDArray[np.float64] = prompts.mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means

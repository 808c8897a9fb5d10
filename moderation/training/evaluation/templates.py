"""The prompts that a class name is read in, and the mean vector of a class over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Encoder
from moderation.errors import TrainingError
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

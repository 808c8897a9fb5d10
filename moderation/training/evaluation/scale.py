"""The scale that a checkpoint multiplies cosines with before the softmax, read from its weights."""

from __future__ import annotations

import math
from pathlib import Path

from moderation.encoder.locate import weight_files

_NAME = "logit_scale"


def own_scale(folder: Path) -> float | None:
    """The exponential of the stored log scale, as CLIP and SigLIP keep it; None where the checkpoint has none."""
    from safetensors import safe_open

    for path in weight_files(folder):
        with safe_open(path, "pt") as weights:
            if _NAME in weights.keys():  # noqa: SIM118 - not a mapping
                return math.exp(float(weights.get_tensor(_NAME).reshape(-1)[0]))
    return None

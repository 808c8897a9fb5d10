"""What stands behind every server that is measured, so that they differ in nothing else: a device that sleeps, or a CLIP's image tower by transformers.

Peers' interpreters import it too: it needs nothing of ours. What is served is told by the variable SERVED, since some of them start processes of their own.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NUMBERS = [0.125] * 8  # an answer


@dataclass(frozen=True, slots=True)
class Told:
    """A port, the largest batch, and a device: seconds of a batch and of each part, or a checkpoint."""

    port: int
    largest: int = 32
    fixed: float = 0.0
    each: float = 0.0
    checkpoint: str = ""
    settings: dict[str, Any] | None = None  # the peer's own


def told() -> Told:
    """What this process is to serve."""
    return Told(**json.loads(os.environ["SERVED"]))


def device(of: Told) -> Any:
    """A function from inputs (texts, or JPEG files in base64) to as many vectors."""
    return Tower(of.checkpoint) if of.checkpoint else Asleep(of.fixed, of.each)


@dataclass(frozen=True, slots=True)
class Asleep:
    """Takes `fixed + each * n` seconds for n inputs, one batch at a time."""

    fixed: float
    each: float

    def __call__(self, inputs: Sequence[Any]) -> list[list[float]]:
        time.sleep(self.fixed + self.each * len(inputs))
        return [NUMBERS] * len(inputs)


class Tower:
    """The image tower of a CLIP checkpoint, by its model card's lines for transformers."""

    def __init__(self, checkpoint: str) -> None:
        import torch
        import transformers

        self.torch = torch
        self.model = transformers.CLIPModel.from_pretrained(checkpoint).eval()
        self.processor = transformers.AutoImageProcessor.from_pretrained(checkpoint)

    def __call__(self, inputs: Sequence[str]) -> list[list[float]]:
        pixels = [self.pixels(one) for one in inputs]
        return self.vectors(pixels)

    def pixels(self, file: str) -> Any:
        """What the tower reads of a picture."""
        from PIL import Image

        picture = Image.open(io.BytesIO(base64.b64decode(file))).convert("RGB")
        return self.processor(images=picture, return_tensors="pt")["pixel_values"]

    def vectors(self, pixels: Sequence[Any]) -> list[list[float]]:
        """Vectors of length 1."""
        with self.torch.inference_mode():
            found = self.model.get_image_features(pixel_values=self.torch.cat(list(pixels)))
        vectors = found if isinstance(found, self.torch.Tensor) else found.pooler_output  # transformers 5 wraps it
        rows: list[list[float]] = self.torch.nn.functional.normalize(vectors, dim=-1).tolist()
        return rows

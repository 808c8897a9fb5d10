"""Pictures that are all different to a cache, and encoding them as users of transformers write it, with the bundled encoder's own files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from moderation.encoder.locate import BUNDLED

JPEG = (("content-type", b"image/jpeg"),)


def different(files: Sequence[bytes], count: int) -> Iterator[bytes]:
    """These files over and over, each with a number behind its end, where no decoder looks."""
    for number in range(count):
        yield files[number % len(files)] + number.to_bytes(8, "big")


def scorer(*, whole: bool) -> Any:
    """A function from pictures to JSON answers: the cosine to one fixed direction; one picture a call of the model, or all of them."""
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(BUNDLED, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(BUNDLED)
    direction = torch.from_numpy(np.random.default_rng(0).normal(size=model.config.projection_dim)).float()

    @torch.inference_mode()
    def scores(files: Sequence[bytes]) -> list[float]:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        pooled = model.vision_model(pixel_values=pixels).pooler_output.flatten(1)
        vectors = torch.nn.functional.normalize(model.visual_projection(pooled), dim=-1)
        found: list[float] = (vectors @ direction).tolist()
        return found

    def function(files: Sequence[bytes]) -> Iterable[bytes]:
        batches = [files] if whole else [[file] for file in files]
        return (json.dumps({"score": score}).encode() for batch in batches for score in scores(batch))

    return function

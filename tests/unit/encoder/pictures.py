"""Pictures for tests, drawn from a seed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 80, height: int = 60, *, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Smooth colour fields with a few sharp shapes and a little noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / random.uniform(3, 30) + y / random.uniform(3, 30) + random.uniform(0, 6)) for _ in range(3)]
    values = 127 + 90 * np.stack(waves, axis=-1) + random.normal(0, 8, (height, width, 3))
    left, top = random.integers(0, max(1, width // 2)), random.integers(0, max(1, height // 2))
    values[top : top + max(1, height // 3), left : left + max(1, width // 3)] = random.integers(0, 256, 3)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(width: int = 80, height: int = 60, *, seed: int = 0) -> bytes:
    return encoded(picture(width, height, seed=seed), "JPEG", quality=90)

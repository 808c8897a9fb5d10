"""A drawing with a transparent ground on grounds of other kinds, so that what is behind it is all that changes."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.settings import ImageLimits

_Ground = NDArray[np.uint8]  # [h, w, 3]
# A drawing with less of it transparent has no ground to speak of.
_LEAST_TRANSPARENT = 0.05
_LONGEST = 896  # pixels, so that a sample of large drawings fits memory


def transparent(content: bytes, limits: ImageLimits) -> Image.Image | None:
    """The picture as RGBA where at least a twentieth of it is transparent, else None, also where it cannot be decoded."""
    try:
        decode(content, limits)
    except ItemError:
        return None
    image = Image.open(io.BytesIO(content))
    if not image.has_transparency_data:
        return None
    drawing = image.convert("RGBA")
    drawing.thumbnail((_LONGEST, _LONGEST))
    alpha = np.asarray(drawing)[..., 3]
    return drawing if (alpha < 128).mean() >= _LEAST_TRANSPARENT else None


def composed(drawing: Image.Image, seed: Sequence[int], *, ground: str) -> Image.Image:
    """The RGBA `drawing` on the ground with this name."""
    pixels = GROUNDS[ground](drawing.height, drawing.width, np.random.default_rng(seed))
    behind = Image.fromarray(pixels).convert("RGBA")
    return Image.alpha_composite(behind, drawing).convert("RGB")


def _plain(tone: int) -> Callable[[int, int, np.random.Generator], _Ground]:
    return lambda height, width, _: np.full((height, width, 3), tone, np.uint8)


def _colour(height: int, width: int, rng: np.random.Generator) -> _Ground:
    return np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (height, width, 3)).copy()


def _checks(height: int, width: int, _: np.random.Generator) -> _Ground:
    y, x = np.mgrid[:height, :width] // max(1, min(height, width) // 8)
    return np.repeat(np.where((x + y) % 2, 230, 120).astype(np.uint8)[..., None], 3, axis=2)


def _gradient(height: int, width: int, rng: np.random.Generator) -> _Ground:
    top, bottom = rng.integers(0, 256, (2, 3))
    down = np.linspace(0, 1, height)[:, None, None]
    return np.broadcast_to(top * (1 - down) + bottom * down, (height, width, 3)).astype(np.uint8)


def _clutter(height: int, width: int, rng: np.random.Generator) -> _Ground:
    """Patches of any colour, as a busy picture has."""
    patches = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))


GROUNDS: Mapping[str, Callable[[int, int, np.random.Generator], _Ground]] = MappingProxyType(
    {
        "white": _plain(255),  # what the encoder itself lays under a drawing: the clean side
        "black": _plain(0),
        "grey": _plain(128),
        "colour": _colour,
        "checks": _checks,
        "gradient": _gradient,
        "clutter": _clutter,
    }
)

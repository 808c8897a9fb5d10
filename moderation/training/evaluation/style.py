"""The same picture in other styles: what is shown stays, how it is drawn does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageFilter, ImageOps


def _greyscale(image: Image.Image) -> Image.Image:
    return image.convert("L")


def _sketch(image: Image.Image) -> Image.Image:
    """Dark lines on white where the brightness changes."""
    return ImageOps.autocontrast(image.convert("L").filter(ImageFilter.CONTOUR))


def _poster(image: Image.Image) -> Image.Image:
    """Four tones to a channel."""
    return ImageOps.posterize(image, 2)


def _brush(image: Image.Image) -> Image.Image:
    """Patches of the colour that is most frequent around, as a broad brush leaves them."""
    return image.filter(ImageFilter.ModeFilter(7))


def _negative(image: Image.Image) -> Image.Image:
    return ImageOps.invert(image)


# Each takes an RGB picture whose short side is 224 pixels.
STYLES: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {"greyscale": _greyscale, "sketch": _sketch, "poster": _poster, "brush": _brush, "negative": _negative}
)

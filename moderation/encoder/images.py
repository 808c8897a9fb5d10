"""Untrusted picture bytes into an upright RGB picture, within limits of bytes and pixels that hold before decoding.

Of an animated picture the first frame is read. Transparent pixels are laid on white, so that what nobody sees is not
judged; 16-bit grey keeps its tones; CMYK, palettes and EXIF orientation are resolved.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from moderation.encoder.header import (
    Format,
    Header,
    is_cut_off,
    orientation,
    read_header,
    unsupported,
    without_animation,
)
from moderation.errors import ItemError
from moderation.settings import ImageLimits

BACKGROUND = (255, 255, 255)


class _Jpeg(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Nobody asks for the resolution, and Pillow's EXIF reader warns about hostile bytes instead of raising."""


def _still_png(content: io.BytesIO) -> ImageFile.ImageFile:
    """Pillow warns about animations it cannot follow, so it is not shown any."""
    return PngImagePlugin.PngImageFile(io.BytesIO(without_animation(content.getvalue())))


# Each plugin is called directly: Image.open would try 43 formats, warn about sizes, and open what the bytes ask for.
_OPENERS: Mapping[Format, Callable[[io.BytesIO], ImageFile.ImageFile]] = MappingProxyType(
    {
        "JPEG": _Jpeg,
        "PNG": _still_png,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "GIF": GifImagePlugin.GifImageFile,
    }
)
_UPRIGHT: Mapping[int, Image.Transpose] = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


def decode(content: bytes, limits: ImageLimits, *, scale: int = 1) -> Image.Image:
    """The picture in a JPEG, PNG, WebP or GIF file, upright, mode RGB; a JPEG is decoded so many times smaller: 1, 2, 4 or 8.

    Raises ItemError(reason="unsupported_input") for everything that is not such a file, is damaged or truncated, or is
    over the limits; those are checked on the header, before any pixel is allocated.
    """
    header = check(content, limits)
    try:
        image = _OPENERS[header.format](io.BytesIO(content))
        _check_pixels(image.width, image.height, limits)
        image.draft(None, (image.width // scale, image.height // scale))  # of a JPEG; nothing at 1
        image.load()
        return _upright(_to_rgb(image), orientation(image.info.get("exif") or b""))
    except ItemError:
        raise
    except Exception as error:  # noqa: BLE001  the decoders raise a dozen types on hostile bytes; each is that item's fault
        cut_off = "truncated" in str(error) or is_cut_off(content, header.format)
        cause = "truncated" if cut_off else "damaged"
        raise unsupported(f"cannot decode this {header.format} file: {error}", cause=cause) from None


def check(content: bytes, limits: ImageLimits) -> Header:
    """The header of a picture that is within the limits; raises ItemError otherwise."""
    if len(content) > limits.max_bytes:
        raise unsupported(
            f"the file has {len(content)} bytes; expected at most {limits.max_bytes}", cause="too_many_bytes"
        )
    header = read_header(content)
    _check_pixels(header.width, header.height, limits)
    return header


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise unsupported(
            f"the picture has {width}x{height} pixels; expected at most {limits.max_pixels}", cause="too_many_pixels"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        seen = image if image.mode == "RGBA" else image.convert("RGBA")
        return _on_background(seen, mask=seen)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """16-bit grey to 8 bits by scaling; Pillow's own conversion clips at 255 and washes the picture out."""
    deep = np.asarray(image).astype(np.uint32).clip(max=65535)
    grey = Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    seen = Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8))
    return _on_background(grey.convert("RGB"), mask=seen)


def _on_background(image: Image.Image, *, mask: Image.Image) -> Image.Image:
    background = Image.new("RGB", image.size, BACKGROUND)
    background.paste(image, mask=mask)
    return background


def _upright(image: Image.Image, stored: int) -> Image.Image:
    return image.transpose(_UPRIGHT[stored]) if stored in _UPRIGHT else image

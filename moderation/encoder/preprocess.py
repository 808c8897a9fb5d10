"""A decoded picture into the pixels an image tower reads: exactly as the reference processors' Pillow path, or fast and near to it.

Fast means that a large JPEG is decoded smaller (by its cosine transform, at 1/2, 1/4 or 1/8), and that torch resizes instead of Pillow.
Change anything here that moves a pixel and that way's version must change with it: it is part of the fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from moderation.encoder.card import Channels, ImageCard
from moderation.encoder.header import Header
from moderation.settings import PixelsWay

PIXELS_VERSIONS: Mapping[PixelsWay, str] = MappingProxyType({"exact": "pixels/1", "fast": "pixels/fast/1"})

# A JPEG stays at least so many times larger than what it is resized to. Of 1,810 photographs at sizes of 96, 64 and 48 of the bundled
# encoder none that was decoded smaller fell below a cosine of 0.999 from 4 on (0.99916 the lowest of 977); from 3 on one in
# eighty did (down to 0.9968), from 2 on one in six (0.9688).
MARGIN = 4
_SCALES = (8, 4, 2)

Pixels = NDArray[np.uint8]

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def jpeg_scale(header: Header, card: ImageCard) -> int:
    """How many times smaller the fast way decodes a picture: 1, 2, 4 or 8; 1 where its sides are no multiples, or it is no JPEG.

    Sides that are multiples keep their ratio, so that `fit` places the smaller picture exactly where the whole one would be.
    """
    short, long = sorted((header.width, header.height))
    side = long if _padded(short, long, card) else short
    fitting = (
        scale
        for scale in _SCALES
        if side >= MARGIN * scale * card.size and header.width % scale == header.height % scale == 0
    )
    return next(fitting, 1) if header.format == "JPEG" else 1


def fit(image: Image.Image, card: ImageCard, way: PixelsWay = "exact") -> Pixels:
    """The picture as uint8 [size, size, 3], resized and then cropped, padded or stretched as the card says.

    A crop never hides the edge of a long picture: beyond `pad_beyond`:1 the whole picture is fitted and padded.
    """
    short, long = sorted(image.size)
    if card.fit == "stretch":
        fitted = _resize(image, card.size, card.size, card, way)
    elif _padded(short, long, card):
        fitted = _pad(image, card, way)
    else:
        fitted = _crop(image, card, way)
    return np.asarray(fitted)


def normalise(pixels: torch.Tensor, card: ImageCard) -> torch.Tensor:
    """uint8 [n, size, size, 3] into float32 [n, 3, size, size] on the same device, by the card's mean and deviation."""
    mean, std = _channels(card.mean, pixels.device), _channels(card.std, pixels.device)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


@lru_cache(maxsize=64)
def _channels(values: Channels, device: torch.device) -> torch.Tensor:
    """Three numbers on a device, kept there: a graph that is being recorded may not copy them over."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device)


def _padded(short: int, long: int, card: ImageCard) -> bool:
    return card.fit == "pad" or (card.fit == "crop" and long > card.pad_beyond * short)


def _crop(image: Image.Image, card: ImageCard, way: PixelsWay) -> Image.Image:
    width, height = image.size
    size, short = card.size, min(image.size)
    # int(), not round(): the reference processors cut the long side down.
    image = _resize(image, int(size * width / short), int(size * height / short), card, way)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _pad(image: Image.Image, card: ImageCard, way: PixelsWay) -> Image.Image:
    long = max(image.size)
    width, height = (max(1, round(card.size * side / long)) for side in image.size)
    red, green, blue = (round(255 * value) for value in card.mean)
    square = Image.new("RGB", (card.size, card.size), (red, green, blue))
    square.paste(_resize(image, width, height, card, way), ((card.size - width) // 2, (card.size - height) // 2))
    return square


def _resize(image: Image.Image, width: int, height: int, card: ImageCard, way: PixelsWay) -> Image.Image:
    if image.size == (width, height):
        return image
    if way == "exact":
        return image.resize((width, height), FILTERS[card.resample])
    # Channels last, as they lie: torch's kernel for bytes is two to four times as fast as Pillow's, and differs by one step of 255 at most.
    rows = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0)
    made = torch.nn.functional.interpolate(rows, size=(height, width), mode=card.resample, antialias=True)
    return Image.fromarray(made[0].permute(1, 2, 0).numpy())

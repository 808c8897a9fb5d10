"""A decoded picture into the pixels an image tower reads, equal to the reference processors' Pillow path.

Change anything here that moves a pixel and `PIXELS_VERSION` must change with it: it is part of the fingerprint.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from moderation.encoder.card import ImageCard

PIXELS_VERSION = "pixels/1"

Pixels = NDArray[np.uint8]

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def fit(image: Image.Image, card: ImageCard) -> Pixels:
    """The picture as uint8 [size, size, 3], resized and then cropped, padded or stretched as the card says.

    A crop never hides the edge of a long picture: beyond `pad_beyond`:1 the whole picture is fitted and padded.
    """
    short, long = sorted(image.size)
    if card.fit == "stretch":
        fitted = _resize(image, card.size, card.size, card)
    elif card.fit == "pad" or long > card.pad_beyond * short:
        fitted = _pad(image, card)
    else:
        fitted = _crop(image, card)
    return np.asarray(fitted)


def normalise(pixels: torch.Tensor, card: ImageCard) -> torch.Tensor:
    """uint8 [n, size, size, 3] into float32 [n, 3, size, size] on the same device, by the card's mean and deviation."""
    mean = torch.tensor(card.mean, dtype=torch.float32, device=pixels.device)
    std = torch.tensor(card.std, dtype=torch.float32, device=pixels.device)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def _crop(image: Image.Image, card: ImageCard) -> Image.Image:
    width, height = image.size
    size, short = card.size, min(image.size)
    # int(), not round(): the reference processors cut the long side down.
    image = _resize(image, int(size * width / short), int(size * height / short), card)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _pad(image: Image.Image, card: ImageCard) -> Image.Image:
    long = max(image.size)
    width, height = (max(1, round(card.size * side / long)) for side in image.size)
    red, green, blue = (round(255 * value) for value in card.mean)
    square = Image.new("RGB", (card.size, card.size), (red, green, blue))
    square.paste(_resize(image, width, height, card), ((card.size - width) // 2, (card.size - height) // 2))
    return square


def _resize(image: Image.Image, width: int, height: int, card: ImageCard) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), FILTERS[card.resample])

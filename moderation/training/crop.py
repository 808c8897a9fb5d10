"""A decoded picture into what a tower trains on: a random crop, perhaps mirrored, or the whole picture as the encoder reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from moderation.encoder.card import ImageCard
from moderation.encoder.preprocess import FILTERS, fit

_TRIES = 10


@dataclass(frozen=True, slots=True)
class Whole:
    """The picture as the encoder of `card` reads it: cropped in the centre, padded or stretched."""

    card: ImageCard

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Tensor:  # noqa: ARG002 - as every preparation
        """float32 [3, size, size], by the card's mean and deviation; nothing is drawn from `rng`."""
        return _pixels(fit(image, self.card), self.card)


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A crop of a random part of the picture, resized to the card's size, mirrored with probability `mirror`.

    `area` is the least and largest share of the picture's area, `aspect` those of width over height, drawn evenly in its
    logarithm. Source: Szegedy et al. 2015, arXiv 1409.4842 §6; CLIP's own training takes an area from 0.9 and mirrors nothing.
    """

    card: ImageCard
    area: tuple[float, float] = (0.9, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: float = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Tensor:
        """float32 [3, size, size], by the card's mean and deviation; the same for the same state of `rng`."""
        size = self.card.size
        box = self._box(image.width, image.height, rng)
        cropped = image.resize((size, size), FILTERS[self.card.resample], box=box)
        if rng.random() < self.mirror:
            cropped = ImageOps.mirror(cropped)
        return _pixels(np.asarray(cropped), self.card)

    def _box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """(left, top, right, bottom); where no draw fits into a long picture, the largest centred one that keeps the aspect."""
        narrowest, widest = self.aspect
        for _ in range(_TRIES):
            area = width * height * rng.uniform(*self.area)
            aspect = math.exp(rng.uniform(math.log(narrowest), math.log(widest)))
            wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < high <= height:
                left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
                return left, top, left + wide, top + high
        wide = max(1, min(width, round(height * widest)))
        high = max(1, min(height, round(width / narrowest)))
        left, top = (width - wide) // 2, (height - high) // 2
        return left, top, left + wide, top + high


def _pixels(pixels: np.ndarray, card: ImageCard) -> Tensor:
    """In numpy: torch would start threads of its own in every thread of the loader."""
    values = pixels.astype(np.float32)
    values /= np.float32(255)
    values -= np.array(card.mean, dtype=np.float32)
    values /= np.array(card.std, dtype=np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

"""Training crops: inside the picture, of the asked share and shape, the same for the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from moderation.encoder.card import ImageCard
from moderation.encoder.preprocess import fit, normalise
from moderation.training.crop import RandomCrop, Whole

CARD = ImageCard(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards: a pixel says where it came from."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    return Image.fromarray(pixels)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", ["crop", "stretch", "pad"])
def test_the_whole_picture_is_what_the_encoder_reads(kind: str) -> None:
    card = CARD.model_copy(update={"fit": kind})
    image = gradient(50, 40)
    expected = normalise(torch.from_numpy(fit(image, card).copy())[None], card)[0]
    found = Whole(card)(image, rng())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_a_crop_of_everything_is_the_picture_resized() -> None:
    image = gradient(40, 40)
    crop = RandomCrop(CARD, area=(1.0, 1.0), aspect=(1.0, 1.0))
    torch.testing.assert_close(crop(image, rng()), Whole(CARD)(image, rng()))


def test_the_same_random_numbers_make_the_same_crop() -> None:
    image, crop = gradient(64, 48), RandomCrop(CARD, area=(0.1, 1.0), mirror=0.5)
    assert torch.equal(crop(image, rng(1)), crop(image, rng(1)))
    assert not torch.equal(crop(image, rng(1)), crop(image, rng(2)))


def test_boxes_lie_inside_and_keep_their_shares() -> None:
    crop, draws = RandomCrop(CARD, area=(0.2, 0.8), aspect=(0.5, 2.0)), rng()
    for _ in range(500):
        left, top, right, bottom = crop._box(300, 200, draws)
        wide, high = right - left, bottom - top
        assert left >= 0
        assert top >= 0
        assert right <= 300
        assert bottom <= 200
        assert 0.19 < wide * high / 60_000 < 0.81
        assert 0.49 < wide / high < 2.05


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (900, 10)])
def test_a_long_picture_still_has_a_crop(size: tuple[int, int]) -> None:
    crop = RandomCrop(CARD)
    left, top, right, bottom = crop._box(*size, rng())
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert crop(gradient(*size), rng()).shape == (3, 16, 16)


def test_a_mirrored_crop_runs_the_other_way() -> None:
    image = gradient(40, 40)
    always, never = (RandomCrop(CARD, mirror=share)(image, rng(3)) for share in (1.0, 0.0))
    assert torch.equal(always, never.flip(2))
    assert never[0, 0, 0] < never[0, 0, -1]

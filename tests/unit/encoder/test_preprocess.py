from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from moderation.encoder.card import ImageCard
from moderation.encoder.images import decode
from moderation.encoder.preprocess import fit, normalise
from moderation.settings import ImageLimits
from tests.unit.encoder.checkpoints import MEAN, STD
from tests.unit.encoder.pictures import encoded, picture

CLIP = ImageCard(size=224, mean=tuple(MEAN), std=tuple(STD))
SIGLIP = ImageCard(size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="stretch")
VIT = SIGLIP.model_copy(update={"resample": "bilinear"})
TOLERANCE = 2.4e-7  # one step of float32 between 2 and 4

REFERENCES: dict[str, tuple[ImageCard, Any]] = {
    "clip": (CLIP, transformers.CLIPImageProcessorPil),
    "siglip": (SIGLIP, transformers.SiglipImageProcessorPil),
    "vit": (VIT, transformers.ViTImageProcessorPil),
}
SIZES = [(224, 224), (300, 225), (225, 300), (640, 480), (97, 131), (500, 375), (1024, 701), (333, 222), (60, 41)]


def ours(image: Image.Image, card: ImageCard) -> np.ndarray:
    return normalise(torch.from_numpy(fit(image, card)[None].copy()), card).numpy()


def reference(image: Image.Image, name: str) -> np.ndarray:
    return REFERENCES[name][1]()(image, return_tensors="np")["pixel_values"]


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_agree_with_the_reference_processor(name: str, size: tuple[int, int]) -> None:
    image = picture(*size, seed=size[0])
    found, expected = ours(image, REFERENCES[name][0]), reference(image, name)
    assert found.shape == expected.shape == (1, 3, 224, 224)
    assert np.abs(found - expected).max() <= TOLERANCE


@pytest.mark.parametrize("name", REFERENCES)
def test_every_tone_agrees_with_the_reference_processor(name: str) -> None:
    tones = np.resize(np.arange(256, dtype=np.uint8), (224, 224, 3))
    image = Image.fromarray(np.ascontiguousarray(tones))
    assert np.abs(ours(image, REFERENCES[name][0]) - reference(image, name)).max() <= TOLERANCE


@pytest.mark.needs_data
@pytest.mark.parametrize("name", REFERENCES)
def test_real_pictures_agree_with_the_reference_processor(name: str, data: Path) -> None:
    compared = 0
    with tarfile.open(data / "photos" / "skimage_samples.tar") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is None or not member.name.endswith((".png", ".jpg")) or "truncated" in member.name:
                continue
            image = decode(file.read(), ImageLimits())
            if name == "clip" and max(image.size) > CLIP.pad_beyond * min(image.size):
                continue  # longer than the reference can judge whole
            assert np.abs(ours(image, REFERENCES[name][0]) - reference(image, name)).max() <= TOLERANCE, member.name
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (2000, 5), (1, 3000)], ids=str)
def test_the_edges_of_a_long_picture_are_judged(size: tuple[int, int]) -> None:
    """A centre crop would not see them: whatever stands at either end must change the pixels."""
    plain = Image.new("RGB", size, (120, 120, 120))
    for end in ((0, 0), (size[0] - 1, size[1] - 1)):
        marked = plain.copy()
        reach = max(size) // 10
        marked.paste((255, 0, 0), (max(0, end[0] - reach), max(0, end[1] - reach), end[0] + reach, end[1] + reach))
        assert not np.array_equal(fit(plain, CLIP), fit(marked, CLIP))


def test_a_picture_is_cropped_up_to_the_stated_ratio_and_padded_beyond() -> None:
    white = {size: fit(Image.new("RGB", size, "white"), CLIP) for size in ((300, 200), (302, 200))}
    assert (white[300, 200] == 255).all()
    padded = white[302, 200]
    assert (padded[112] == 255).all()
    assert [int(value) for value in padded[0, 0]] == [round(255 * value) for value in MEAN]


def test_padding_is_neutral_after_normalising() -> None:
    pixels = ours(Image.new("RGB", (10, 1000), "white"), CLIP)
    assert np.abs(pixels[..., 0]).max() < 0.01


def test_pad_always_shows_the_whole_picture() -> None:
    card = CLIP.model_copy(update={"fit": "pad", "size": 60})
    image = picture(60, 45)
    assert np.array_equal(fit(image, card)[7:52], np.asarray(image))


def test_a_file_and_its_picture_give_the_same_pixels() -> None:
    image = picture(250, 200)
    assert np.array_equal(fit(decode(encoded(image), ImageLimits()), CLIP), fit(image, CLIP))

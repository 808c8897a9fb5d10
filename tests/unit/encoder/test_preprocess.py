from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moderation.encoder.card import ImageCard
from moderation.encoder.checkpoint import load
from moderation.encoder.header import Header
from moderation.encoder.images import check, decode
from moderation.encoder.preprocess import MARGIN, fit, jpeg_scale, normalise
from moderation.errors import ItemError
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


def photographs(data: Path, every: int) -> list[bytes]:
    """Real ones as JPEG files, cut to sides of whole blocks so that all may be decoded smaller."""
    found = []
    for name in ("photos/clothing_cc0_subset.tar", "photos/playing_cards_363.tar", "devonly/photos/cair_fire_647.tar"):
        with tarfile.open(data / name) as archive:
            for member in [one for one in archive.getmembers() if one.name.endswith(".jpg")][::every]:
                file = archive.extractfile(member)
                assert file is not None
                image = decode(file.read(), ImageLimits())
                whole = image.crop((0, 0, image.width // 8 * 8, image.height // 8 * 8))
                found.append(encoded(whole, "JPEG", quality=90))
    return found


@pytest.mark.needs_data
@torch.inference_mode()
def test_the_fast_way_is_near_the_exact_one_on_real_photographs(data: Path) -> None:
    """By the bundled encoder, at its own size and at smaller ones, where more photographs are large enough to be decoded smaller."""
    files, smaller, encoder = photographs(data, 12), 0, load("bundled", device="cpu")
    assert len(files) > 150
    for size, kind in ((96, "pad"), (64, "pad"), (48, "pad"), (48, "crop")):
        card = encoder.card.image.model_copy(update={"size": size, "fit": kind})
        scales = [jpeg_scale(check(file, ImageLimits()), card) for file in files]
        smaller += sum(scale > 1 for scale in scales)
        exact = [fit(decode(file, ImageLimits()), card) for file in files]
        fast = [
            fit(decode(file, ImageLimits(), scale=scale), card, "fast")
            for file, scale in zip(files, scales, strict=True)
        ]
        both = [
            torch.cat([encoder.image(torch.from_numpy(np.stack(side[at : at + 32]))) for at in range(0, len(side), 32)])
            for side in (exact, fast)
        ]
        cosines = (both[0].float() * both[1].float()).sum(1)
        assert cosines.min() >= 0.999, (size, kind)
    assert smaller >= 60


@pytest.mark.parametrize("kind", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_torch_resizes_within_one_step_of_pillow(kind: Any, resample: Any) -> None:
    card = ImageCard(size=96, mean=(0.5,) * 3, std=(0.5,) * 3, fit=kind, resample=resample)
    for size in SIZES:
        image = picture(*size, seed=size[1])
        difference = np.abs(fit(image, card).astype(int) - fit(image, card, "fast").astype(int))
        assert difference.max() <= 1


@given(
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    size=st.integers(16, 512),
    kind=st.sampled_from(["crop", "pad", "stretch"]),
)
def test_a_jpeg_is_decoded_smaller_only_where_enough_is_left(width: int, height: int, size: int, kind: Any) -> None:
    card = ImageCard(size=size, mean=(0.5,) * 3, std=(0.5,) * 3, fit=kind)
    scale = jpeg_scale(Header("JPEG", width, height), card)
    assert jpeg_scale(Header("PNG", width, height), card) == 1
    assert scale in (1, 2, 4, 8)
    assert width % scale == height % scale == 0
    small = Image.new("L", (width // scale, height // scale))
    resized: list[tuple[int, int]] = []

    def seen(image: Image.Image, to_width: int, to_height: int, *_: Any) -> Image.Image:
        resized.append((to_width, to_height))
        return Image.new("RGB", (to_width, to_height))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moderation.encoder.preprocess._resize", seen)
        fit(small, card)
        fit(Image.new("L", (width, height)), card)
    assert resized[0] == resized[1], "the smaller picture lies where the whole one would"
    if scale > 1:
        # The long side of a padded strip rounds up to a pixel where it is nothing.
        wide, high = resized[0]
        assert max(small.width / wide, small.height / high) >= MARGIN * 0.99


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_a_smaller_jpeg_is_the_same_picture(orientation: int, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(picture(640, 480, seed=3), "JPEG", quality=90, exif=exif, **options)
    card = ImageCard(size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    scale = jpeg_scale(check(file, ImageLimits()), card)
    assert scale == 2
    small = decode(file, ImageLimits(), scale=scale)
    assert sorted(small.size) == [240, 320]
    difference = np.abs(fit(small, card, "fast").astype(int) - fit(decode(file, ImageLimits()), card).astype(int))
    assert difference.mean() < 1


def test_a_truncated_jpeg_is_refused_at_every_scale() -> None:
    file = encoded(picture(640, 480), "JPEG", quality=90)
    for scale in (1, 2, 4, 8):
        with pytest.raises(ItemError, match="truncated"):
            decode(file[: len(file) // 2], ImageLimits(), scale=scale)

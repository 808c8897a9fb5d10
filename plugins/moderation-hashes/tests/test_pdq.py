"""PDQ: the reference's own hashes bit for bit, and that changes of a picture's file leave its hash nearly as it was."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moderation_hashes.bands import MATCH_DISTANCE
from moderation_hashes.detector import LEAST_QUALITY
from moderation_hashes.pdq import BITS, Hash, hash_picture
from PIL import Image

PHOTOS = Path(os.environ.get("MODERATION_DATA") or "nowhere") / "photos"

# What Meta's reference code (in C++, by way of pdqhash 0.2.8) says of pictures that `waves` makes: seed, height, width, hash, quality.
REFERENCE = [
    (1, 64, 64, "b98831ba572d01b7ef2dfe58dcb0116b22d9136b0656ad642b5caa1954f2ad17", 100),
    (2, 5, 5, "91a494a56e5b6b5ace33319cdb36ce7331c894a591a494a56e5b6b5ace33318c", 82),
    (3, 100, 37, "097f31e6f36c04c7896cfbd8ab9103121e87bcaffe94aea92232943954b82fa1", 100),
    (4, 256, 256, "c0cd9d6420dd142500df76b857a01cbb55a2dd33f86603dbaf57ab910526e8df", 100),
    (5, 480, 641, "b966ab55b9562275a8d703b356a512ab56aafc0852a225c42bfd56a2fcac54ae", 100),
    (6, 1000, 129, "223f59a2a63f79e28031ffe3940e517bf9447b58fd525a0753c2074f5546815c", 100),
    (7, 130, 2000, "6ed51683fcd5f403aad5f7800d2b8422ad355aa34426b9fc123208e655eeffe4", 100),
    (8, 128, 128, "562fd781b72baf813e6b0398562afc81d9230057aacdaed9f993502e79995072", 100),
    (9, 33, 900, "904b329c4d35b8cc741df80c127906d349fe06f207df2cd75da2af132ea4ad3b", 100),
]


def waves(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth coloured picture that follows from the seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    out = np.zeros((height, width, 3))
    for channel in range(3):
        for _ in range(6):
            down, across, phase = *rng.uniform(0, 6, 2), rng.uniform(0, 6.28)
            out[:, :, channel] += np.sin(2 * np.pi * (down * y / height + across * x / width) + phase)
    return np.clip(128 + out * 40, 0, 255).astype(np.uint8)


def distance(one: Hash, other: Hash) -> int:
    return (int.from_bytes(one.bits, "big") ^ int.from_bytes(other.bits, "big")).bit_count()


@pytest.mark.parametrize(("seed", "height", "width", "bits", "quality"), REFERENCE)
def test_it_is_the_reference_bit_for_bit(seed: int, height: int, width: int, bits: str, quality: int) -> None:
    assert hash_picture(waves(seed, height, width)) == Hash(bytes.fromhex(bits), quality)


def test_a_hash_that_meta_published() -> None:
    """Of python-threatexchange's own test (cli/tests/hash_cmd_test.py): a picture made by a formula, saved as GIF by Pillow.

    That library hashes the numbers of a palette's colours in place of the colours, so this does too, here alone.
    """
    i, j = np.meshgrid(np.arange(100), np.arange(100))
    pixels = np.stack([i * 5 % 256, j * 5 % 256, (i + j) * 5 % 256], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "GIF")
    with Image.open(file) as image:
        numbers = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    published = Hash(bytes.fromhex("77ffdd3a9405fbb0805027270fa7d7065e7cf8da0c0d795881002667e44f266f"), 100)
    assert (
        distance(hash_picture(numbers), published) <= 10
    )  # Meta's own tolerance; another Pillow may make another palette


@pytest.mark.parametrize("shape", [(1, 1), (4, 400), (400, 4)])
def test_a_side_under_five_pixels_has_no_quality(shape: tuple[int, int]) -> None:
    assert hash_picture(waves(1, *shape)).quality == 0


def test_a_plain_picture_has_no_quality() -> None:
    assert hash_picture(np.full((300, 200, 3), 77, dtype=np.uint8)).quality == 0


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = waves(5, 480, 641)
    whole = hash_picture(pixels)
    monkeypatch.setattr("moderation_hashes.pdq._STRIP", 641 * 7)
    assert distance(hash_picture(pixels), whole) <= 2


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(5, 300), st.integers(5, 300))
def test_half_of_the_bits_are_set(seed: int, height: int, width: int) -> None:
    """They are those above the median, so a hash says where a picture is strong, not how strong it is."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert int.from_bytes(hash_picture(noise).bits, "big").bit_count() <= BITS // 2


# How an upload changes on its way, and the least share of photos that still match after it. Where a picture of some 250 pixels is made
# smaller, PDQ's own filter has little left to smooth, and a few change more.
CHANGES = {
    "JPEG at quality 50": (lambda image: _encoded(image, "JPEG", 50), 1.0),
    "JPEG at quality 20": (lambda image: _encoded(image, "JPEG", 20), 1.0),
    "WebP at quality 50": (lambda image: _encoded(image, "WEBP", 50), 1.0),
    "grey": (lambda image: image.convert("L"), 1.0),
    "half as large": (lambda image: image.resize((image.width // 2, image.height // 2)), 0.95),
    "twice as large": (lambda image: image.resize((image.width * 2, image.height * 2)), 0.95),
    "squeezed to 128 by 128": (lambda image: image.resize((128, 128)), 0.95),
}


def _encoded(image: Image.Image, form: str, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, form, quality=quality)
    return Image.open(file)


def _photos(name: str, step: int) -> Iterator[Image.Image]:
    with tarfile.open(PHOTOS / name) as archive:
        members = [one for one in archive if one.name.endswith((".jpg", ".jpeg", ".png"))]
        for member in members[::step]:
            with Image.open(archive.extractfile(member)) as image:
                yield image.convert("RGB")


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the shared data (MODERATION_DATA)")
@pytest.mark.parametrize("name", CHANGES)
def test_photos_keep_their_hash_through_what_services_do_to_them(name: str) -> None:
    change, share = CHANGES[name]
    photos = [*_photos("clothing_cc0_subset.tar", 10), *_photos("playing_cards_363.tar", 10)]
    hashed = [(hash_picture(np.asarray(one)), hash_picture(np.asarray(change(one).convert("RGB")))) for one in photos]
    clear = [distance(*both) for both in hashed if both[0].quality >= LEAST_QUALITY]
    assert len(clear) >= 100  # or the photos were not read
    assert np.mean(np.array(clear) <= MATCH_DISTANCE) >= share


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the shared data (MODERATION_DATA)")
def test_other_photos_are_far_away() -> None:
    hashed = [hash_picture(np.asarray(image)) for image in _photos("clothing_cc0_subset.tar", 10)]
    clear = [one for one in hashed if one.quality >= LEAST_QUALITY]
    assert min(distance(one, other) for n, one in enumerate(clear) for other in clear[:n]) > MATCH_DISTANCE

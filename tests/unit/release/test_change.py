"""Changes that must not matter: what they alter, and None where they alter nothing, so that a test cannot pass by it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from moderation.item import Part
from moderation.release.change import changed

PICTURES = ("grayscale", "mirror", "jpeg60", "crop90", "half_size")
TEXTS = ("upper_case", "no_punctuation", "spaced")


def png(picture: Image.Image) -> Part:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return Part.image(buffer.getvalue())


COLOURED = Image.effect_noise((40, 30), 90).convert("RGB")
COLOURED.putpixel((0, 0), (250, 10, 10))


@pytest.mark.parametrize("change", PICTURES)
def test_a_picture_that_is_altered_is_another_one(change: str) -> None:
    found = changed(png(COLOURED), change, {})
    assert found is not None
    assert found.content != png(COLOURED).content


@pytest.mark.parametrize(
    ("picture", "change"),
    [
        (COLOURED.convert("L"), "grayscale"),
        (Image.new("RGB", (16, 16), (128, 128, 128)), "mirror"),
        (Image.new("RGB", (16, 16), (128, 128, 128)), "jpeg60"),
        (COLOURED.crop((0, 0, 4, 4)), "crop90"),
        (COLOURED.crop((0, 0, 1, 1)), "half_size"),
    ],
)
def test_a_picture_that_stays_as_it_is_is_none(picture: Image.Image, change: str) -> None:
    assert changed(png(picture), change, {}) is None


@pytest.mark.parametrize(
    ("change", "altered", "same"), list(zip(TEXTS, ("abc", "a, b", "a b"), ("ABC 1", "a b", "ab"), strict=True))
)
def test_a_text_that_stays_as_it_is_is_none(change: str, altered: str, same: str) -> None:
    found = changed(Part.text(altered, name="n"), change, {})
    assert found is not None
    assert (found.content.decode() != altered, found.name) == (True, "n")
    assert changed(Part.text(same), change, {}) is None


def test_what_nobody_sees_stays_unseen() -> None:
    glass = Image.new("RGBA", (20, 20), (200, 0, 0, 0))
    glass.paste((0, 0, 250, 255), (5, 2, 9, 12))
    found = changed(png(glass), "mirror", {})
    assert found is not None
    assert Image.open(io.BytesIO(found.content)).getpixel((0, 0)) == (255, 255, 255)


def test_a_change_is_none_for_the_other_modality_and_for_what_cannot_be_read() -> None:
    assert changed(Part.text("a"), "mirror", {}) is None
    assert changed(png(COLOURED), "upper_case", {}) is None
    assert changed(Part.image(b"torn"), "mirror", {}) is None

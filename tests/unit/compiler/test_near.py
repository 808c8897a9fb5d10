"""Near-duplicates: copies are found, other drawings are not, and the pairs are those that comparing all would give."""

from __future__ import annotations

import io
import itertools
import zlib

import numpy as np
import pytest
from PIL import Image

from moderation.compiler.near import ALIKE, FAR, Signature, _near_pictures, near_duplicates, pieces, signature
from moderation.encoder.images import decode
from moderation.item import Part
from moderation.settings import ImageLimits
from tests.conftest import ROOT

LIMITS = ImageLimits()
SHIPPED = sorted((ROOT / "policies" / "pictures" / "certify").glob("*.webp"))[::40]


def near(*parts: Part) -> list[tuple[int, int]]:
    return near_duplicates(parts, limits=LIMITS)


def saved(picture: Image.Image, kind: str = "PNG", **options: int) -> Part:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Part.image(file.getvalue())


def shipped() -> list[Image.Image]:
    return [decode(path.read_bytes(), LIMITS) for path in SHIPPED]


def cropped(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    return picture.crop(
        (round(width * share), round(height * share), round(width * (1 - share)), round(height * (1 - share)))
    )


def half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2))


COPIES = {
    "jpeg": (lambda one: saved(one, "JPEG", quality=60), 1.0),
    "half": (lambda one: saved(half(one)), 1.0),
    "crop": (lambda one: saved(cropped(one, 0.02)), 0.9),
    "all": (lambda one: saved(half(cropped(one, 0.02)), "JPEG", quality=60), 0.9),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_shipped_drawings_are_found_and_nothing_else(name: str) -> None:
    copy, share = COPIES[name]
    pictures = shipped()
    found = near(*(saved(one) for one in pictures), *(copy(one) for one in pictures))
    count = len(pictures)
    assert all(other == one + count for one, other in found)
    assert len(found) >= share * count


def test_pairs_are_those_that_comparing_all_would_give_but_for_few_that_are_far() -> None:
    pictures = shipped()
    parts = [saved(cropped(one, cut)) for one in pictures for cut in (0.0, 0.02, 0.03)]
    signatures = [signature(decode(part.content, LIMITS)) for part in parts]
    every = [
        (one, other)
        for one, other in itertools.combinations(range(len(parts)), 2)
        if np.bitwise_count(signatures[one].bits ^ signatures[other].bits) <= FAR
        and signatures[one].thumbnail @ signatures[other].thumbnail >= ALIKE
    ]
    found = near(*parts)
    assert set(found) <= set(every)
    assert len(found) >= 0.95 * len(every)
    close = [(a, b) for a, b in every if np.bitwise_count(signatures[a].bits ^ signatures[b].bits) < 8]
    assert set(close) <= set(found)


def test_what_cannot_be_read_and_what_is_all_one_colour_is_like_nothing() -> None:
    blank = saved(Image.new("RGB", (40, 40), "white"))
    assert near(blank, saved(Image.new("RGB", (41, 41), "white")), Part.image(b"torn"), Part.image(b"torn")) == []
    assert near() == []


def test_a_text_is_like_its_copy_whatever_its_case_and_punctuation() -> None:
    text = "Buy cheap pills here, today only: no prescription needed!"
    other = "Good morning, friend; shall we meet at the market again soon?"
    found = near(
        Part.text(text),
        Part.text(other),
        Part.text(text.upper() + " ok"),
        Part.text("buy  cheap\npills"),
        Part.text("Buy cheap PILLS."),
    )
    assert found == [(0, 2), (3, 4)]


def test_a_word_changed_in_a_short_text_is_another_text() -> None:
    assert near(*(Part.text(f"a photo of {one}") for one in ("a rifle", "a kitten", "a rose"))) == []


def test_a_text_shorter_than_a_piece_is_one_piece_and_other_scripts_have_pieces_too() -> None:
    assert pieces("Hi!") == {zlib.crc32(b"hi")}
    assert len(pieces("\u6b66\u5668\u306e\u5199\u771f\u3092\u58f2\u308b")) == 4
    assert pieces("...") != pieces("???")


def test_pictures_and_texts_are_never_compared() -> None:
    picture = saved(shipped()[0])
    assert near(picture, Part.text("a"), picture, Part.text("a")) == [(0, 2), (1, 3)]


def test_each_of_many_that_are_alike_is_paired_with_an_earlier_one_and_not_with_all() -> None:
    sentence = "a sentence from a template that is long enough to hide a number:"
    one = shipped()[0]
    for parts in (
        [Part.text(f"{sentence} {n}") for n in range(300)],
        [saved(one.convert("RGB"), "JPEG", quality=60 + n % 30) for n in range(100)],
    ):
        found = near(*parts)
        assert {other for _, other in found} == set(range(1, len(parts)))
        assert len(found) < 60 * len(parts)


def test_of_many_with_one_hash_each_is_paired_with_the_first_whose_thumbnails_are_alike() -> None:
    """Those come late where thumbnails of the others, looked at before them, are not."""
    kinds = np.eye(768, dtype=np.float32)[:2]
    mine = [0] * 200 + [1, 0] * 100
    found = list(_near_pictures([Signature(np.uint64(7), kinds[kind]) for kind in mine]))
    for other, kind in enumerate(mine):
        first = [one for one in range(other) if mine[one] == kind][:20]
        assert [one for one, own in found if own == other] == first


def test_what_was_seen_before_is_not_decoded_again_and_gives_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = shipped()[:2]
    parts = [saved(one), saved(other), saved(one)]
    first = near_duplicates(parts, limits=LIMITS)
    monkeypatch.setattr("moderation.compiler.near.decode", lambda *_: pytest.fail("decoded again"))
    assert near_duplicates(parts, limits=LIMITS) == first == [(0, 2)]
    assert near_duplicates(parts, limits=LIMITS.model_copy(update={"max_pixels": 4})) == []

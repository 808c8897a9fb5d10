"""Tiles cover a picture at each scale, within bounds; small things in a large picture come out large, each with its place."""

from __future__ import annotations

import io
import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moderation.decision import Abstention
from moderation.encoder.images import decode
from moderation.item import Part
from moderation.plugin_sections import ReaderSettings, TileSettings
from moderation.reader import tiles
from moderation.reader.tiles import NEARLY_SQUARE, SCALES, STEP, Box, Tiles, boxes
from moderation.settings import ImageLimits
from moderation.testing.reader import ReaderKit

LIMITS = ImageLimits(max_pixels=4_000_000)
SIDES = st.integers(1, 3000)


def file(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    made = io.BytesIO()
    picture.save(made, kind, **options)  # type: ignore[arg-type]
    return made.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """Red tells how far right a pixel is, green how far down."""
    red = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    green = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([red, green, np.zeros((height, width))], axis=2).astype(np.uint8))


def cut(picture: bytes, **settings: int) -> list[Part]:
    (found,) = Tiles(TileSettings(**settings), LIMITS).read((Part.image(picture),))
    assert not isinstance(found, Abstention)
    return list(found)


class TestTiles(ReaderKit):
    """The built-in reader keeps what a reader promises."""

    plugin = "builtin"
    make: ClassVar = staticmethod(lambda: Tiles(TileSettings(), ImageLimits()))
    holding: ClassVar = [file(gradient(400, 300)), file(gradient(200, 800), "JPEG")]
    empty: ClassVar = [file(gradient(96, 96)), file(gradient(190, 200)), file(gradient(40, 4000))]


@given(SIDES, SIDES, st.integers(1, 400), st.integers(1, 70))
def test_tiles_lie_inside_and_are_no_more_and_no_smaller_than_allowed(
    width: int, height: int, side: int, most: int
) -> None:
    found = boxes(width, height, side=side, most=most)
    assert len(found) <= most
    assert len(set(found)) == len(found)
    assert (0, 0, width, height) not in found or most == 1
    for left, top, right, bottom in found:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert min(right - left, bottom - top) >= side


@given(SIDES, SIDES, st.integers(1, 70), st.floats(0, 1), st.floats(0, 1))
def test_every_scale_that_is_there_covers_the_picture(
    width: int, height: int, most: int, across: float, down: float
) -> None:
    scales: dict[int, list[Box]] = {}
    for box in boxes(width, height, side=1, most=most):
        scales.setdefault(min(box[2] - box[0], box[3] - box[1]), []).append(box)
    x, y = across * width, down * height
    for found in scales.values():
        assert any(box[0] <= x <= box[2] and box[1] <= y <= box[3] for box in found)


@given(st.integers(400, 3000), st.integers(400, 3000), st.floats(0, 1), st.floats(0, 1), st.sampled_from(SCALES[1:]))
def test_what_is_a_fifth_as_large_as_a_tile_lies_whole_in_one(
    width: int, height: int, across: float, down: float, scale: int
) -> None:
    tile = min(width, height) // scale
    thing = math.floor((1 - STEP) * tile) - 1
    left, top = across * (width - thing), down * (height - thing)
    found = [box for box in boxes(width, height, side=1, most=10_000) if box[2] - box[0] == tile]
    assert any(box[0] <= left and box[1] <= top and left + thing <= box[2] and top + thing <= box[3] for box in found)


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ((1000, 1000), [9, 25]),
        ((1000, round(999 * NEARLY_SQUARE)), [9, 30]),
        ((1024, 768), [2, 12, 35]),
        ((1920, 1080), [2, 15, 45]),
        ((256, 341), [2, 12]),  # a quarter of it is smaller than an encoder reads
        ((3000, 1000), [4, 24]),  # as many again at a quarter would be too many
        ((19_000, 190), [64]),  # longer tiles, so that nothing is left out
        ((95, 9000), []),
        ((100, 100), []),
    ],
)
def test_how_many_there_are(size: tuple[int, int], counts: list[int]) -> None:
    found = boxes(*size, side=96, most=64)
    sides = [min(box[2] - box[0], box[3] - box[1]) for box in found]
    assert [sides.count(side) for side in sorted(set(sides), reverse=True)] == counts


def test_a_tile_shows_its_region() -> None:
    tiles = cut(file(gradient(800, 600)))
    assert len(tiles) == 2 + 12 + 35
    for tile in tiles:
        assert tile.region
        left, top, right, bottom = tile.region
        pixels = np.asarray(decode(tile.content, LIMITS), np.float64)
        assert pixels.shape[0] >= 96
        # The middle of a tile is coloured by where it lies in the whole.
        middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2] / 255
        assert middle[:2] == pytest.approx([(left + right) / 2, (top + bottom) / 2], abs=0.02)


def test_a_region_is_of_the_picture_held_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    turned = gradient(800, 600)
    tiles = cut(file(turned, "JPEG", quality=95, exif=exif))
    upright = turned.transpose(Image.Transpose.ROTATE_270)
    first = tiles[0]
    assert first.region == (0.0, 0.0, 1.0, 600 / 800)
    pixels = np.asarray(decode(first.content, LIMITS).resize((60, 60)), np.float64)
    expected = np.asarray(upright.crop((0, 0, 600, 600)).resize((60, 60)), np.float64)
    assert np.abs(pixels - expected).mean() < 3


def test_the_same_picture_gives_the_same_bytes_whatever_stands_beside_it() -> None:
    one, other = file(gradient(500, 400)), file(gradient(400, 500))
    reader = Tiles(TileSettings(), LIMITS)
    both = reader.read((Part.image(one), Part.image(other)))
    assert [reader.read((Part.image(content),))[0] for content in (one, other)] == both


def test_a_large_tile_is_kept_no_larger_than_an_encoder_reads() -> None:
    sizes = {decode(tile.content, LIMITS).size for tile in cut(file(gradient(1800, 1600)))}
    assert {min(size) for size in sizes} == {384}


@pytest.mark.parametrize("content", [b"", b"not a picture", file(gradient(2100, 2000))])
def test_what_cannot_be_decoded_or_is_too_large_is_told_in_the_encoders_words(content: bytes) -> None:
    (told,) = Tiles(TileSettings(), LIMITS).read((Part.image(content),))
    assert isinstance(told, Abstention)
    assert told.reason == "unsupported_input"
    assert told.cause


def test_the_revision_moves_with_whatever_changes_a_tile() -> None:
    settings = [TileSettings(), TileSettings(side=224), TileSettings(most=16)]
    assert len({Tiles(one, LIMITS).revision for one in settings}) == 3
    assert Tiles(TileSettings(), ImageLimits()).revision == Tiles(TileSettings(), LIMITS).revision


def test_more_tiles_than_parts_are_refused_where_tiles_are_in_use() -> None:
    crowded = TileSettings(most=65)
    ReaderSettings(tiles=crowded)
    with pytest.raises(ValueError, match=r"tiles\.most: 65 is over most_parts, 64"):
        ReaderSettings(use=("tiles",), tiles=crowded)


def test_pictures_that_time_does_not_suffice_for_cost_nobody_else_his(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "SECONDS", -1.0)
    small = Part.image(file(gradient(300, 300)))
    assert Tiles(TileSettings(), ImageLimits()).read((small,)) == [Abstention("out_of_time")]

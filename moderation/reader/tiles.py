"""The built-in reader `tiles`: a large picture cut into overlapping squares at several scales, so that what is small in it is seen as large."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from moderation.decision import Abstention
from moderation.errors import ItemError
from moderation.item import Modality, Part, Region
from moderation.plugin_sections import TileSettings
from moderation.reader.base import Reading
from moderation.settings import ImageLimits

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1  # of what is cut; any change of a tile's bytes changes it
SCALES = (1, 2, 4)  # a tile's side as a part of the picture's short side
STEP = 0.8  # of a tile's side, from one to the next: what is a fifth as large lies whole in one of them
NEARLY_SQUARE = 1.1  # up to here a tile as high as the picture shows nothing that the picture does not
_SHOWN = 384  # pixels of a tile's side: no encoder reads more, so more is not kept
_QUALITY = 95
_DIGITS = 6
_AT_ONCE = 2  # pictures in memory, as with encoders: each takes up to thirteen bytes a pixel

SECONDS = 20.0  # for a batch: less than a reader is given by default
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


class Tiles:
    """Tiles of pictures, each with its region. A picture has none of a scale at which a tile would have fewer than `side` pixels a side."""

    id = "tiles"
    reads = yields = frozenset({Modality.IMAGE})
    crops = True

    def __init__(self, settings: TileSettings, limits: ImageLimits) -> None:
        self._settings, self._limits = settings, limits
        self.revision = f"{VERSION}-{settings.side}-{settings.most}"

    def read(self, parts: tuple[Part, ...]) -> list[Reading]:
        """The tiles of each picture, coarse ones first; a picture that cannot be decoded is an abstention for the encoder's own reason.

        Those that are not begun when SECONDS are over are abstained from, so that a few large ones do not cost the others their batch.
        """
        end = time.monotonic() + SECONDS
        with ThreadPoolExecutor(_AT_ONCE, "tiles") as pool:
            return list(pool.map(lambda part: self._cut(part, end), parts))

    def _cut(self, part: Part, end: float) -> Reading:
        from moderation.encoder.images import decode  # Pillow is for who cuts

        if time.monotonic() > end:
            return Abstention("out_of_time")
        try:
            picture = decode(part.content, self._limits)
        except ItemError as error:
            return Abstention(error.reason, cause=error.cause)
        width, height = picture.size
        found = boxes(width, height, side=self._settings.side, most=self._settings.most)
        return [Part(Modality.IMAGE, _file(picture, box), region=_region(box, width, height)) for box in found]


def boxes(width: int, height: int, *, side: int, most: int) -> list[Box]:
    """Where the tiles of a picture lie: squares of one or more of the scales, which together cover it, `most` of them at most.

    A scale whose tiles would be smaller than `side` pixels, or too many, is left out, and so is every finer one. Tiles of the coarsest
    are as high as the picture is (as wide, where it is upright); of one so long that there would be too many, they are longer.
    """
    found: list[Box] = []
    short, long = sorted((width, height))
    for scale in SCALES:
        tile = short // scale
        if tile < side:
            break
        if scale > 1:
            grid = list(_grid(width, height, tile, tile))
        elif long > NEARLY_SQUARE * short:
            along = max(tile, math.ceil(long / (1 + (most - 1) * STEP)))
            grid = list(_grid(width, height, min(width, along), min(height, along)))
        else:
            continue
        if len(found) + len(grid) > most:
            break
        found += grid
    return found


def _grid(width: int, height: int, across: int, down: int) -> Iterator[Box]:
    for top in _starts(height, down):
        for left in _starts(width, across):
            yield left, top, left + across, top + down


def _starts(length: int, tile: int) -> list[int]:
    """Evenly from one edge to the other."""
    steps = math.ceil((length - tile) / (STEP * tile))
    return [round(number * (length - tile) / max(steps, 1)) for number in range(steps + 1)]


def _region(box: Box, width: int, height: int) -> Region:
    left, top, right, bottom = box
    return (
        round(left / width, _DIGITS),
        round(top / height, _DIGITS),
        round(right / width, _DIGITS),
        round(bottom / height, _DIGITS),
    )


def _file(picture: Image.Image, box: Box) -> bytes:
    """A tile as a file: what an encoder is given, and what its vector is remembered by."""
    from PIL.Image import Resampling

    scale = min(1.0, _SHOWN / min(box[2] - box[0], box[3] - box[1]))
    size = round(scale * (box[2] - box[0])), round(scale * (box[3] - box[1]))
    tile = picture.crop(box) if scale == 1.0 else picture.resize(size, Resampling.BICUBIC, box)
    file = io.BytesIO()
    tile.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue()

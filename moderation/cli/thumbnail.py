"""Small copies of pictures, for pages that need nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.settings import ImageLimits

SIDE = 320  # pixels of a copy's longer side, at most


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG of a picture with its size, or why there is none."""

    content: bytes = b""
    width: int = 0
    height: int = 0
    why: str = ""


def thumbnail(read: Callable[[], bytes], limits: ImageLimits) -> Thumbnail:
    """The small copy of what `read` gives, upright; an ItemError that it or decoding raises is why there is none."""
    try:
        image = decode(read(), limits)
    except ItemError as error:
        return Thumbnail(why=error.cause or error.reason)
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return Thumbnail(out.getvalue(), image.width, image.height)

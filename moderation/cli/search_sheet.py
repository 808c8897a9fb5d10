"""The contact sheet of a search: one HTML page with small copies of the pictures that were found, which needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from moderation.cli.pictures import Picture, Told
from moderation.cli.search import Found
from moderation.encoder.base import Fingerprint
from moderation.encoder.images import decode
from moderation.errors import ItemError, one_line
from moderation.release.page import data_url, render
from moderation.settings import ImageLimits

SIDE = 320  # pixels of a copy's longer side, at most


@dataclass(frozen=True, slots=True)
class Copy:
    """A small JPEG of a picture with its size, or why there is none."""

    content: bytes = b""
    width: int = 0
    height: int = 0
    why: str = ""


def render_sheet(found: Sequence[Found], told: Told, *, limits: ImageLimits, encoder: Fingerprint) -> str:
    """The page as HTML text. It fetches nothing and runs no script; every text is escaped, and what is not the picture that was found is not shown."""
    wanted = {hit.picture.digest: hit.picture for one in found for hit in one.hits}
    return render(
        resources.files("moderation.cli") / "search_sheet.html.j2",
        style=resources.files("moderation.release") / "report.css",
        filters={"data_url": data_url, "line": one_line, "count": lambda number: f"{number:,}"},
        found=found,
        told=told,
        encoder=encoder,
        copies={digest: _copy(picture, limits) for digest, picture in wanted.items()},
    )


def _copy(picture: Picture, limits: ImageLimits) -> Copy:
    try:
        image = decode(picture.same(), limits)
    except ItemError as error:
        return Copy(why=error.cause or error.reason)
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return Copy(out.getvalue(), image.width, image.height)

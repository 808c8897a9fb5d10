"""The contact sheet of a search: one HTML page with small copies of the pictures that were found, which needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from moderation.cli.hits import Found
from moderation.cli.pictures import Told
from moderation.cli.thumbnail import thumbnail
from moderation.encoder.base import Fingerprint
from moderation.errors import one_line
from moderation.release.page import data_url, render
from moderation.settings import ImageLimits


def render_sheet(found: Sequence[Found], told: Told, *, limits: ImageLimits, encoder: Fingerprint) -> str:
    """The page as HTML text. It fetches nothing and runs no script; every text is escaped, and what is not the picture that was found is not shown."""
    wanted = {hit.picture.digest: hit.picture for one in found for hit in one.hits}
    return render(
        resources.files("moderation.cli") / "search_sheet.html.j2",
        style=resources.files("moderation.release") / "report.css",
        filters={"data_url": data_url, "line": one_line},
        found=found,
        told=told,
        encoder=encoder,
        copies={digest: thumbnail(picture.same, limits) for digest, picture in wanted.items()},
    )

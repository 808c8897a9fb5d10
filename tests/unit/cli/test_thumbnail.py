from __future__ import annotations

from moderation.cli.thumbnail import SIDE, thumbnail
from moderation.encoder.images import decode
from moderation.settings import ImageLimits
from tests.unit.encoder.pictures import encoded, picture


def test_a_copy_is_small_and_upright() -> None:
    content = encoded(picture(400, 1200), "JPEG")
    copy = thumbnail(lambda: content, ImageLimits())
    image = decode(copy.content, ImageLimits())
    assert image.size == (copy.width, copy.height) == (round(SIDE / 3), SIDE)
    assert len(copy.content) < 30_000


def test_why_there_is_none_is_told() -> None:
    assert thumbnail(lambda: b"x", ImageLimits()).why == "not_a_picture"

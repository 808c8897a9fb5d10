"""A small weapon in a large picture, by the encoder and the lock that are shipped: missed by the whole picture, found by a tile, and shown where it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from moderation import assemble
from moderation.decision import Outcome
from moderation.item import ContentItem, Part
from moderation.plugin_sections import ReaderSettings
from moderation.settings import Settings
from tests.conftest import ROOT

LOCK = ROOT / "policies" / "weapons.lock.json"
SIZE, SIDE = (1024, 768), 192
TILED = Settings(readers=ReaderSettings(use=("tiles",)))


def scene(drawing: str, left: int, top: int) -> ContentItem:
    """A drawing, a quarter as high as the picture, on a soft gradient."""
    across, down = np.meshgrid(np.linspace(180, 230, SIZE[0]), np.linspace(200, 255, SIZE[1]))
    picture = Image.fromarray(np.stack([across, down, np.full_like(across, 240)], axis=2).astype(np.uint8))
    if drawing:
        path = ROOT / "policies" / "pictures" / "certify" / drawing
        picture.paste(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC), (left, top))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return ContentItem(drawing or "nothing", (Part.image(file.getvalue(), name="scene"),))


PLACES = [("switchblade.webp", 700, 400), ("mp.webp", 60, 500), ("croc-sword.webp", 420, 30)]


@pytest.fixture(scope="module")
def scenes() -> list[ContentItem]:
    return [scene(*place) for place in PLACES]


def test_what_is_lost_in_the_whole_picture_is_found_by_a_tile_that_holds_it(scenes: list[ContentItem]) -> None:
    whole = assemble.pipeline(Settings(), [LOCK]).decide(scenes)
    assert [one.verdicts[0].outcome for one in whole] == [Outcome.NO_MATCH] * 3
    tiled = assemble.pipeline(TILED, [LOCK]).decide([*scenes, scene("", 0, 0)])
    for decision, (_, left, top) in zip(tiled, PLACES, strict=False):
        (verdict,) = decision.verdicts
        assert verdict.outcome is Outcome.REVIEW
        assert verdict.part
        assert verdict.part.startswith("scene#tiles-")
        assert verdict.region
        x, y = (left + SIDE / 2) / SIZE[0], (top + SIDE / 2) / SIZE[1]
        assert verdict.region[0] <= x <= verdict.region[2]
        assert verdict.region[1] <= y <= verdict.region[3]
        assert verdict.region[2] - verdict.region[0] <= 0.5
    assert tiled[-1].verdicts[0].outcome is Outcome.NO_MATCH


def test_tiles_are_found_in_the_cache_the_second_time(scenes: list[ContentItem]) -> None:
    running = assemble.pipeline(TILED, [LOCK])
    first, again = running.decide(scenes), running.decide(scenes)
    assert [one.cache_hit for one in first] == [False] * 3
    assert [one.cache_hit for one in again] == [True] * 3
    assert [one.verdicts for one in first] == [one.verdicts for one in again]

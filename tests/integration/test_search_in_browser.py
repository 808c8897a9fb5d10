"""A contact sheet in a real browser: pictures are seen, blurred where that is ticked, described to those who do not see them; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation.cli.hits import Found, Hit
from moderation.cli.pictures import Picture, Told
from moderation.cli.query import Query
from moderation.cli.search_sheet import render_sheet
from moderation.encoder.base import Fingerprint
from moderation.item import Part, content_digest
from moderation.settings import ImageLimits
from tests.integration.browser import of_the_page, opened
from tests.unit.encoder.pictures import encoded

pytestmark = pytest.mark.needs_browser


def detail(page: str, port: int, folder: Path, name: str) -> float:
    """How much neighbouring pixels differ in what the browser draws."""
    file, shot = folder / f"{name}.html", folder / f"{name}.png"
    file.write_text(page.replace('loading="lazy"', ""), encoding="utf-8")
    opened(file, port, folder, f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("L"), np.float64)
    return float(np.abs(np.diff(pixels, axis=1)).sum())


def test_ticking_the_box_blurs_every_picture(asked: tuple[int, list[str]], tmp_path: Path) -> None:
    stripes = (np.indices((300, 300)).sum(axis=0) // 6 % 2 * 255).astype(np.uint8)
    content = encoded(Image.fromarray(stripes))
    seen = Picture("a.png", None, content_digest(content), lambda: content)
    found = [Found(Query("stripes", Part.text("stripes")), [Hit(seen, 0.5)] * 3)]
    page = render_sheet(found, Told(pictures=3), limits=ImageLimits(), encoder=Fingerprint("0", "made-up"))
    port, requests = asked
    clear = detail(page, port, tmp_path, "clear")
    blurred = detail(page.replace('id="blur"', 'id="blur" checked'), port, tmp_path, "blurred")
    assert blurred < 0.5 * clear
    assert of_the_page(requests) == []

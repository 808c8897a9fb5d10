"""The backtest's page in a real browser: tables and plots are there, drawn, and nothing is asked of any network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation.release.backtest_page import render_html
from tests.integration.browser import MARK, of_the_page, opened
from tests.unit.release.test_backtest import FLIPPED, KEPT, REMOVED, facts, found_in

pytestmark = pytest.mark.needs_browser


def test_the_page_shows_its_tables_and_draws_its_plots_and_asks_for_nothing(
    asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    cosines = [FLIPPED if number < 20 else REMOVED if number >= 85 else KEPT for number in range(100)]
    page, shot = tmp_path / "backtest.html", tmp_path / "shot.png"
    page.write_text(render_html(found_in(tmp_path, cosines, facts(100))), encoding="utf-8")
    port, requests = asked
    seen = opened(page, port, tmp_path, "--dump-dom")
    for table in ("builds", "load", "matrix", "flips", "examples", "rates-table"):
        assert re.search(rf'<table id="{table}">.*review', seen, re.DOTALL)
    assert re.search(r'<span class="pill bad">over budget: review', seen)
    assert seen.count('<svg id="loads"') == seen.count('<svg id="groups"') == seen.count('<svg id="rates"') == 1
    assert seen.count('<svg class="by-day"') == 2
    opened(page, port, tmp_path, f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"), np.int64)
    assert (np.abs(pixels - MARK).sum(axis=2) < 12).sum() > 500  # dots, intervals and lines over days
    assert of_the_page(requests) == []

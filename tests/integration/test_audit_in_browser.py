"""The audit's page in a real browser: tables and plots are there, drawn, and nothing is asked of any network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation.audit.page import render_html
from tests.integration.browser import MARK, of_the_page, opened
from tests.unit.audit.test_assess import usual

pytestmark = pytest.mark.needs_browser


def test_the_page_shows_its_tables_and_draws_its_plots_and_asks_for_nothing(
    asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    page, shot = tmp_path / "audit.html", tmp_path / "shot.png"
    page.write_text(render_html(usual(), cuts={"review": 0.5}), encoding="utf-8")
    port, requests = asked
    seen = opened(page, port, tmp_path, "--dump-dom")
    assert re.search(r'<table id="verdicts">.*wrongful', seen, re.DOTALL)
    assert seen.count('<svg class="rates"') == 4  # a harm and the calibration of each attribute
    assert seen.count('<svg class="curve"') == 2
    opened(page, port, tmp_path, f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"), np.int64)
    assert (np.abs(pixels - MARK).sum(axis=2) < 12).sum() > 500  # dots, intervals and the curve
    assert of_the_page(requests) == []


def test_a_page_that_asks_would_be_caught(asked: tuple[int, list[str]], tmp_path: Path) -> None:
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://pictures.example/one.png">', encoding="utf-8")
    port, requests = asked
    opened(page, port, tmp_path, "--dump-dom")
    assert of_the_page(requests) == ["http://pictures.example/one.png"]

"""A report's overlay in a real browser: the rectangle lies over its picture where the verdict says, whatever the picture's shape."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation.release.report import render_report
from tests.integration.browser import of_the_page, opened
from tests.unit.release.report_runs import CARD, ORDER, make_run, make_stream

pytestmark = pytest.mark.needs_browser

LINE = (0xC2, 0x18, 0x5B)
BLUE = (10, 20, 200)


def within(pixels: np.ndarray, colour: tuple[int, int, int], reach: int) -> tuple[int, int, int, int]:
    """The box around everything of a colour."""
    rows, columns = np.nonzero(np.abs(pixels - colour).sum(axis=2) < reach)
    assert len(rows) > 50
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("size", [(600, 300), (300, 600)], ids=["lying", "upright"])
def test_the_rectangle_lies_over_its_part_of_the_picture(
    size: tuple[int, int], asked: tuple[int, list[str]], tmp_path: Path
) -> None:
    page, shot, file = tmp_path / "report.html", tmp_path / "shot.png", io.BytesIO()
    Image.new("RGB", size, BLUE).save(file, "PNG")
    run = make_run("weapons")
    judged = make_stream([run], length=1, repeats=0)[0]
    verdict = replace(judged.decision.verdicts[0], region=(0.25, 0.5, 0.75, 1.0))
    marked = replace(judged, picture=file.getvalue(), decision=replace(judged.decision, verdicts=(verdict,)))
    text = render_report([run], [marked], card=CARD, fingerprint="0/made-up", order=ORDER)
    page.write_text(text.replace('loading="lazy"', ""), encoding="utf-8")
    port, requests = asked
    opened(page, port, tmp_path, f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"), np.int64)
    left, top, right, bottom = within(pixels, BLUE, 12)
    wide, high = right - left, bottom - top
    assert wide / high == pytest.approx(size[0] / size[1], rel=0.05)
    line = within(pixels, LINE, 40)
    expected = (left + 0.25 * wide, top + 0.5 * high, left + 0.75 * wide, top + high)
    assert line == pytest.approx(expected, abs=5)
    assert of_the_page(requests) == []

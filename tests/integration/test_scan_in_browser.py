"""The page of a scan in a real browser: a hostile name stays text, and nothing is fetched or run."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.cli.scan_sheet import Sheet, render_scan
from moderation.cli.summary import Summary
from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.item import ContentItem, Part
from moderation.settings import ImageLimits, Settings
from moderation.source.entry import Entry
from tests.fakes import lock
from tests.integration.browser import of_the_page, opened
from tests.unit.encoder.pictures import encoded, picture

pytestmark = pytest.mark.needs_browser

HOSTILE = """</style></title>"><script>document.title = "run"</script><img src=http://192.0.2.1/x onerror="document.title='run'">"""


def page_of(content: bytes) -> str:
    order = Settings().actions
    sheet, summary = Sheet([lock()], order, ImageLimits()), Summary(order, [HOSTILE])
    verdict = Verdict(
        "weapons", "1", "r", "draft", Outcome.REVIEW, Severity.HIGH, "review", 0.8, None, 0.5, 0.3, HOSTILE, part="0", region=(0.25, 0.5, 0.75, 1.0)
    )  # fmt: skip
    failed = Verdict("weapons", "1", "r", "draft", Outcome.ERROR, Severity.HIGH, "review", error="x", cause=HOSTILE)
    for one in (verdict, failed):
        decision = Decision(HOSTILE, "1", "allow", Severity.INFO, "review", (one,), {})
        summary.add(decision)
        sheet.add(decision, Entry(HOSTILE, lambda: ContentItem(HOSTILE, (Part.image(content),))))
    return render_scan(sheet, summary.to_dict())


def test_a_hostile_name_stays_text_and_nothing_is_fetched(asked: tuple[int, list[str]], tmp_path: Path) -> None:
    file, (port, requests) = tmp_path / "scan.html", asked
    text = page_of(encoded(picture()))
    file.write_text(text, encoding="utf-8")
    drawn = opened(file, port, tmp_path, "--dump-dom")
    assert "<title>Scan: weapons</title>" in drawn
    assert "<script" not in drawn
    assert drawn.count("<img ") == drawn.count('<img src="data:image/jpeg;base64,') == 3
    assert drawn.count('<svg class="region"') == 2
    assert of_the_page(requests) == []

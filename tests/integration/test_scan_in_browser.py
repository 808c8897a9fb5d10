"""The page of a scan in a real browser: a hostile name stays text, and nothing is fetched or run."""

from __future__ import annotations

import re
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


LONG = "holiday-pictures/2026_08_market-square/counterfeit-handbags_on-a-table.second.take.png"
# Run by the browser in place of the page's own wish that nothing runs: each line of the first name, as it is laid out.
LINES = """<script>
const text = document.createTreeWalker(document.querySelector(".item h3"), NodeFilter.SHOW_TEXT), range = document.createRange(), lines = new Map();
while (text.nextNode()) for (let at = 0; at < text.currentNode.length; at++) {
  range.setStart(text.currentNode, at); range.setEnd(text.currentNode, at + 1);
  const top = range.getBoundingClientRect().top;
  lines.set(top, (lines.get(top) || "") + range);
}
document.title = [...lines.values()].join("|");
</script>"""


def page_of(content: bytes, name: str = HOSTILE) -> str:
    order = Settings().actions
    sheet, summary = Sheet([lock()], order, ImageLimits()), Summary(order, [HOSTILE])
    verdict = Verdict(
        "weapons", "1", "r", "draft", Outcome.REVIEW, Severity.HIGH, "review", 0.8, None, 0.5, 0.3, HOSTILE, part="0", region=(0.25, 0.5, 0.75, 1.0)
    )  # fmt: skip
    failed = Verdict("weapons", "1", "r", "draft", Outcome.ERROR, Severity.HIGH, "review", error="x", cause=HOSTILE)
    for one in (verdict, failed):
        decision = Decision(name, "1", "allow", Severity.INFO, "review", (one,), {})
        summary.add(decision)
        sheet.add(decision, Entry(name, lambda: ContentItem(name, (Part.image(content),))))
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


def test_a_long_name_is_broken_between_its_words(asked: tuple[int, list[str]], tmp_path: Path) -> None:
    file = tmp_path / "scan.html"
    text = page_of(encoded(picture()), LONG).replace("default-src 'none'", "default-src 'unsafe-inline'")
    file.write_text(text.replace("</body>", f"{LINES}</body>"), encoding="utf-8")
    (told,) = re.findall(r"<title>(.*)</title>", opened(file, asked[0], tmp_path, "--dump-dom"))
    lines = told.split("|")
    assert "".join(lines) == LONG
    assert len(lines) > 2
    assert all(line[-1] in "-_./" for line in lines[:-1]), lines

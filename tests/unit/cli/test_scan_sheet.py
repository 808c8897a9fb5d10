"""The page of a scan: every kind of item is shown by the few that tell most, counts are the summary's, and no name or phrase is markup."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from weakref import ref

import pytest

from moderation.cli.scan_sheet import SHOWN, Best, Sheet, Shown
from moderation.cli.thumbnail import Thumbnail
from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.encoder.base import Encoded
from moderation.encoder.images import decode
from moderation.errors import ExitCode, ItemError
from moderation.item import ContentItem, Modality, Part
from moderation.policy.lock import lock_path, write_lock
from moderation.settings import ImageLimits
from moderation.source.entry import Entry
from tests.fakes import FakeEncoder, FakeReader, lock, plugins_with
from tests.unit.cli.conftest import Run
from tests.unit.encoder.pictures import encoded, picture

HOSTILE = '"><script>alert(1)<img src=x onerror=alert(2)>\u202e.png'


class Lightness(FakeEncoder):
    """Real pictures, the lighter the nearer to a violation."""

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        errors: dict[int, ItemError] = {}
        light = []
        for row, content in enumerate(images):
            try:
                light.append(f"{decode(content, ImageLimits()).convert('L').getpixel((0, 0)) / 255:.4f}".encode())
            except ItemError as error:
                errors[row] = error
                light.append(b"0")
        return Encoded(super().encode_images(light).vectors, errors)


class Page(HTMLParser):
    """The tags of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def items(self, outcome: str) -> list[str]:
        """The names of the items that are shown with this outcome, in order."""
        return [
            Path(str(attrs["data-item"])).name
            for tag, attrs in self.tags
            if tag == "li" and attrs.get("data-outcome") == outcome
        ]


@pytest.fixture
def weapons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = Lightness()
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: fake)
    path = lock_path(tmp_path / "build", "weapons")
    write_lock(lock(), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    for level in range(20):
        file = folder / f"p{level:02}.png"
        file.write_bytes(encoded(Image.new("RGB", (60, 30), (level * 13,) * 3)))
    (folder / "cut.png").write_bytes(encoded(picture())[:100])
    (folder / HOSTILE).write_bytes(encoded(Image.new("RGB", (40, 40), "white")))
    (folder / "words.txt").write_text("secret words", encoding="utf-8")
    return folder


def test_every_kind_is_shown_by_those_that_tell_most(weapons: Path, pictures: Path, run: Run) -> None:
    target, told = weapons.with_name("scan.html"), weapons.with_name("summary.json")
    code, _, _ = run("scan", pictures, "--policy", weapons, "--report", target, "--summary", told)
    assert code == ExitCode.OK
    page, found = Page(target.read_text(encoding="utf-8")), json.loads(told.read_text(encoding="utf-8"))
    assert f"{found['items']} items decided under 1 policy" in page.text
    assert page.items("match")[0].startswith('"><script>')  # the lightest of all
    assert (page.items("match")[1], page.items("review")[0]) == ("p19.png", "p18.png")
    assert page.items("error") == ["cut.png"]
    assert page.items("no_match")[0] == "p00.png"  # the surest
    sheet = weapons.with_name("scan.html").read_text(encoding="utf-8")
    near = sheet[sheet.index("Nearest to a threshold") :]
    margins = [abs(float(one.replace("−", "-"))) for one in re.findall(r"margin ([+−][\d.]+)", near)]
    assert margins == sorted(margins)
    assert '<span class="pill bad">match</span> <span class="soft">remove</span>' in sheet
    assert '<span class="pill warn">review</span> <span class="soft">weapons</span>' in sheet  # no "review review"
    assert len(margins) == SHOWN
    for name, count in found["proposed"].items():
        assert re.search(rf'<th scope="row">{name}</th><td>{count}</td>', sheet)


def test_no_name_is_markup_and_no_content_is_told(weapons: Path, pictures: Path, run: Run) -> None:
    target = weapons.with_name("scan.html")
    code, out, err = run("scan", pictures, "--policy", weapons, "--report", target)
    text = target.read_text(encoding="utf-8")
    page = Page(text)
    assert code == ExitCode.OK
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "link", "object"})
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(str(attrs["src"]).startswith("data:image/jpeg;base64,") for tag, attrs in page.tags if tag == "img")
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert not re.search(r"@import|url\(|https?:", text)
    assert "default-src 'none'" in text
    assert 'id="blur" checked> Blur the pictures' in text
    assert "secret" not in text + out + err
    names = [str(attrs["data-item"]) for tag, attrs in page.tags if tag == "li" and "data-item" in attrs]
    assert any("<script>alert(1)" in name for name in names)  # its name, as text


def test_the_place_that_carried_a_verdict_is_drawn_over_its_picture(
    weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    white = encoded(Image.new("RGB", (8, 8), "white"))
    corners = FakeReader(
        "corners",
        lambda parts: [[replace(Part.image(white), region=(0.5, 0.0, 1.0, 0.25))] for _ in parts],
        reads=(Modality.IMAGE,),
        yields=(Modality.IMAGE,),
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: plugins_with(readers=(corners,)))
    monkeypatch.setenv("MODERATION_READERS__USE", '["corners"]')
    target = weapons.with_name("scan.html")
    run("scan", pictures / "p03.png", "--policy", weapons, "--report", target)
    text = target.read_text(encoding="utf-8")
    assert text.count('<svg class="region"') == text.count("<img ") == 2  # among its action's, and near a threshold
    assert 'x="0.5" y="0.0" width="0.5" height="0.25"' in text
    assert 'width="60" height="30"' in text  # the whole picture, not the place


def test_the_same_scan_gives_the_same_page(weapons: Path, pictures: Path, run: Run) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        run("scan", pictures, "--policy", weapons, "--report", weapons.with_name(name))
        pages.append(weapons.with_name(name).read_bytes())
    assert pages[0] == pages[1]


def test_an_uncertified_policy_shows_its_highest_scores_among_the_errors(
    weapons: Path, pictures: Path, run: Run
) -> None:
    from tests.fakes import action

    write_lock(lock(actions=(action("remove", None),)), weapons)
    run("scan", pictures, "--policy", weapons, "--report", weapons.with_name("scan.html"))
    page = Page(weapons.with_name("scan.html").read_text(encoding="utf-8"))
    assert len(page.items("error")) == SHOWN
    assert page.items("error")[1] == "p19.png"
    assert "It decided on nothing." in page.text


def card_for(best: Best, strength: float, content: bytes, seen: list[bytes]) -> None:
    def read() -> ContentItem:
        seen.append(content)
        return ContentItem(f"{strength}", (Part.text(content.decode()),))

    verdict = Verdict("p", "1", "r", "draft", Outcome.REVIEW, Severity.LOW, part="0")
    best.offer(strength, f"{strength}", verdict, Shown(Entry(f"{strength}", read), ImageLimits()))


def test_only_what_is_among_the_best_is_read_and_the_same_content_is_kept_once() -> None:
    best, seen = Best(), list[bytes]()
    for number in range(100):
        card_for(best, 0.0 - number, f"{number}".encode(), seen)
    assert len(seen) == SHOWN
    card_for(best, 1.0, b"0", seen)
    assert [one.card.item for one in best.ranked] == [f"{-float(number) + 0.0}" for number in range(SHOWN)]
    card_for(best, 1.0, b"new", seen)
    assert [one.card.item for one in best.ranked][:2] == ["1.0", "0.0"]
    assert (best.total, len(best.ranked)) == (102, SHOWN)


@pytest.mark.parametrize(
    ("part", "shown"),
    [("0", b"a"), ("b", b"b"), ("part-0#tiles-1", b"a"), ("b#tiles-1", b"b"), ("b#x#y", b"b"), (None, b"a")],
)
def test_the_part_is_shown_that_the_verdict_is_of(part: str | None, shown: bytes) -> None:
    item = ContentItem("1", (Part.text("a"), Part.text("b", name="b")))
    verdict = Verdict("p", "1", "r", "draft", Outcome.REVIEW, Severity.LOW, part=part)
    found = Shown(Entry("1", lambda: item), ImageLimits()).part(verdict)
    assert found
    assert found.content == shown


def test_what_is_no_picture_has_words_in_its_place() -> None:
    def gone() -> ContentItem:
        raise ItemError("unreadable", "gone", cause="no_such_file")

    shown = Shown(Entry("1", lambda: ContentItem("1", (Part.text("secret"),))), ImageLimits())
    verdict = Verdict("p", "1", "r", "draft", Outcome.REVIEW, Severity.LOW, part="0")
    assert shown.copy(shown.part(verdict)) == Thumbnail(why="a text")
    for entry, why in ((Entry("1", gone), "no_such_file"), (None, "not read")):
        lost = Shown(entry, ImageLimits())
        assert lost.copy(lost.part(verdict)) == Thumbnail(why=why)


def test_an_entry_of_another_item_is_shown_for_none() -> None:
    verdict = Verdict("p", "1", "r", "draft", Outcome.REVIEW, Severity.LOW, "review", 0.8, None, 0.5, 0.3, part="0")
    decision = Decision("1", "d", "allow", Severity.INFO, "review", (verdict,), {})
    sheet = Sheet([], ("allow", "review"), ImageLimits())
    for name in ("1", "2"):
        sheet.add(decision, Entry(name, partial(ContentItem, name, (Part.text("secret"),))))
    assert [one.card.copy.why for one in sheet.actions["review"].ranked] == ["a text", "not read"]


def test_no_content_is_held_once_its_item_is_counted() -> None:
    class Watched(ContentItem):
        """An item of which one can tell whether it is still there."""

    there: list[ref[Watched]] = []

    def read() -> ContentItem:
        item = Watched("1", (Part.image(encoded(picture())), Part.text("words")))
        there.append(ref(item))
        return item

    verdict = Verdict("p", "1", "r", "draft", Outcome.REVIEW, Severity.LOW, "review", 0.8, None, 0.5, 0.3, part="0")
    sheet = Sheet([], ("allow", "review"), ImageLimits())
    gc.disable()
    try:
        sheet.add(Decision("1", "d", "allow", Severity.INFO, "review", (verdict,), {}), Entry("1", read))
        assert [one() for one in there] == [None]
    finally:
        gc.enable()
    assert sheet.actions["review"].ranked[0].card.copy.content

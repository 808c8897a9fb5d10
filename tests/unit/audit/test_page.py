"""The audit's page: every section and figure is there, for eyes and for readers of screens, on paper and in the dark."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import pytest

from moderation.audit.earlier import recall
from moderation.audit.page import SHOWN, render_html, render_markdown
from moderation.audit.plots import Mark, dots
from tests.unit.audit.test_assess import usual, whole

CSS = (resources.files("moderation.audit") / "page.css").read_text(encoding="utf-8")


@cache
def page() -> str:
    return render_html(whole(earlier=recall(usual().to_dict())), cuts={"review": 0.5})


@dataclass
class Seen(HTMLParser):
    """What stands in a page, in order."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "line", "circle", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"line", "circle", "polyline"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def seen(html: str) -> Seen:
    found = Seen()
    found.feed(html)
    return found


def test_every_tag_is_closed_and_nothing_is_run_or_fetched() -> None:
    html = page()
    assert seen(html).open == []
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert not re.search(r"(src|href)=\"(?!#)|url\(|@import", html)


def test_names_from_policies_and_manifests_are_escaped_everywhere() -> None:
    assert "<b>b</b>" not in page()
    assert "&lt;b&gt;b&lt;/b&gt;|" in page()


@pytest.mark.parametrize(
    "heading",
    [
        "Verdicts", "Who was looked at", "Each harm by group", "Without a threshold", "Intersections", "Counterfactual pairs", "Class design",
        "Associations of phrases", "Functional tests", "After review", "Since an earlier audit", "Article 15", "Not assessed", "Limits",
        "What the figures mean",
    ],
)  # fmt: skip
def test_every_section_is_there(heading: str) -> None:
    assert re.search(rf"<h2[^>]*>[^<]*{heading}", page())


@pytest.mark.parametrize(
    "said",
    [
        "by safety",  # who
        "every third report of a week", "Agreement on targets: 0.9", "Agreement: 0.71", "Source: annotators", "About: depicted",
        "lead: capacity",  # who set the tolerance and why
        "corrected over 2 declared tests", "corrected over all 4 cells",
        "Four-fifths rule (a screening rule, never a verdict)", "with equal rates it would fire in",
        "58 of 60", "known gap", "Share overturned", "the same items", "moderation policy audit x.yaml", "scikit-learn",
        "Where this share of items violates", "Error rates in this audit, with exact 95 % bounds", '<th scope="row">de</th>',
        "No item at all: &lt;b&gt;b&lt;/b&gt;| × de",
    ],
)  # fmt: skip
def test_it_says(said: str) -> None:
    assert said in page()


def test_landmarks_headings_and_contents() -> None:
    found = seen(page())
    assert [len(found.named(one)) for one in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    assert found.named("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(one["href"])[1:] for one in found.named("a")} <= set(ids)
    assert {one["aria-labelledby"] for one in found.named("section")} <= set(ids)


def test_every_plot_has_words_units_and_its_table() -> None:
    html = page()
    plots = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(plots) == 6  # two harms: rates and curve each; two attributes: calibration
    for plot in plots:
        assert re.search(r'role="img" aria-label="[^"]+the table below', plot) or "the table below" in plot
        assert re.search(r'class="name"[^>]*>[^<]+<', plot)  # what the axis counts
    after = html.split("</svg>")[1:]
    assert all("<table" in part.split("<svg")[0] for part in after)
    assert ">tolerated<" in html
    assert "review from here" in html


def test_every_table_has_a_caption_or_row_heads_and_every_heading_a_scope() -> None:
    html = page()
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert "<caption>" in table
        assert 'scope="col"' in table
    assert all(one.get("scope") in {"col", "row"} for one in seen(html).named("th"))


def test_a_table_that_could_have_thousands_of_rows_says_how_many_there_are() -> None:
    found = usual()
    harm = found.harms[0]
    gaps = harm.gaps[:1] * (SHOWN + 5)
    many = replace(found, harms=(replace(harm, gaps=gaps, pairs=44_850), *found.harms[1:]))
    html = render_html(many, cuts={})
    assert f"the largest {SHOWN} of 44,850; the JSON lists more" in html


def schemes() -> dict[str, dict[str, str]]:
    """The colours of each way to show the page."""
    light, dark, paper = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = {
        name: dict(re.findall(r"--([\w-]+): (#\w{6})", text))
        for name, text in (("light", light), ("dark", dark), ("print", paper))
    }
    return {name: {**found["light"], **colours} for name, colours in found.items()}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_marks_stand_out(scheme: str) -> None:
    colours = schemes()[scheme]
    for text, ground in (
        ("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("mark", "page"), ("ink", "sunk"),
        ("bad", "bad-soft"), ("good", "good-soft"), ("warn", "warn-soft"),
    ):  # fmt: skip
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line in ("mark", "bad", "rule"):
        assert contrast(colours[line], colours["page"]) >= 3.0, line


def test_on_paper_nothing_stays_folded() -> None:
    paper = CSS.split("@media print")[1]
    assert "details::details-content { content-visibility: visible; }" in paper
    assert "break-inside: avoid" in paper


def test_an_axis_goes_below_zero_where_a_value_does() -> None:
    plot = dots([Mark("a", 0.1, 0.05, 0.15), Mark("b", -0.03, -0.08, 0.02, faint=True)])
    assert plot.zero is not None
    assert plot.ticks[0][1] == "-0.1"
    assert plot.dots[1].x < plot.zero < plot.dots[0].x
    assert dots([Mark("a", 0.1, 0.05, 0.15)]).zero is None


def test_the_markdown_summary_says_the_same() -> None:
    text = render_markdown(usual())
    for said in (
        f"Registered in advance as `{usual().registered[:16]}`",
        "## Not assessed",
        "## Limits",
        "2026-01-01, by safety",
        "Overturned after review, by group: ",
        "Counterfactual pairs in group: of 200 pairs 98 treated differently, 0.490 (",
        "Functional tests: 0 passed, 1 failed, 1 known gap.",
    ):
        assert said in text, said
    assert "<b>" not in text


def test_one_of_a_kind_is_told_as_one() -> None:
    audit = usual()
    one = replace(
        audit, items=1, clusters=1, attributes=tuple(replace(each, unknown=1) for each in audit.attributes),
        counterfactuals=tuple(replace(each, pairs=1, flips=1) for each in audit.counterfactuals),
    )  # fmt: skip
    page, text = render_html(one, cuts={}), render_markdown(one)
    for said in (
        "1 item, ",
        "in 1 independent cluster.",
        "Not stated: 1 item.",
        "of 1 pair with no other difference 1 treated",
    ):
        assert said in page, said
    for said in (", 1 item (", "in 1 cluster,", "of 1 pair 1 treated differently"):
        assert said in text, said


def test_a_name_in_the_markdown_summary_is_text_and_calls_nobody() -> None:
    odd = replace(usual(), by="@team [x](http://y) `z` <b> *c* |\n# d")
    told = "by @\u200bteam \\[x\\](http://y) \\`z\\` &lt;b> \\*c\\* \\| # d"
    assert told in render_markdown(odd)

"""What a harm came to, in words: no advice to collect what is there already, and a sentence that anybody understands."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moderation.audit.conclusion import in_plain_words, tell_reason
from moderation.audit.gaps import Verdict
from moderation.audit.harms import assess_harms
from moderation.audit.page import render_html, render_markdown
from moderation.audit.power import times_needed
from moderation.audit.result import HarmResult
from tests.unit.audit.audited import block, judged, planted, sample_of
from tests.unit.audit.test_assess import usual

ORDER = ("allow", "review")


def exactly(events: dict[str, tuple[int, int]], tolerance: float, metric: str = "fpr") -> HarmResult:
    """The result where so many of so many single items of each group are events."""
    items: list[Any] = []
    for group, (hits, size) in events.items():
        items += [
            judged(len(items) + n, group=group, force=int((n < hits) == (metric == "fpr")), target=metric == "fnr")
            for n in range(size)
        ]
    return assess_harms(block({"tolerance": tolerance, "metric": metric}), sample_of(items), order=ORDER)[0]


STYLES = {"game": (26, 171), "noto": (10, 173), "mdi": (0, 131)}


def test_groups_that_differ_are_not_told_how_many_items_settle_equal_rates() -> None:
    found = exactly(STYLES, 0.12)
    assert found.verdict is Verdict.INSUFFICIENT
    assert "there is a gap of about 0.152; if it is that large, about" in found.reason
    assert "times as many independent items would show that it is more than tolerated" in found.reason
    assert "equal rates" not in found.reason


@pytest.mark.parametrize("seed", range(40))
def test_no_advice_names_what_the_groups_have_already(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(40, 900, 3)
    events = {name: (int(random.binomial(size, 0.1)), int(size)) for name, size in zip("abc", sizes, strict=True)}
    found = exactly(events, float(random.choice([0.02, 0.05, 0.1])))
    if number := re.search(r"about ([\d,]+) independent items", found.reason):
        smallest = min(cell.effective for cell in found.cells)
        assert int(number[1].replace(",", "")) > smallest
        assert found.gaps[0].low <= 0.0
        assert f"the smallest is worth {smallest:,.0f}" in found.reason
    if times := re.search(r"about ([\d.]+) times", found.reason):
        assert float(times[1]) > 1.0


def test_a_gap_within_the_tolerance_is_told_as_one() -> None:
    found = exactly({"a": (60, 600), "b": (24, 600)}, 0.08)
    assert "there is a gap of about 0.060; if it is that large, about" in found.reason
    assert "would show that it is within the tolerance" in found.reason


def test_a_gap_next_to_the_tolerance_is_not_settled_by_numbers() -> None:
    assert "lies so near the tolerance" in exactly(STYLES, 0.15).reason


def test_a_difference_that_only_one_interval_sees_is_no_more_than_likely() -> None:
    found = exactly({"a": (24, 171), "b": (14, 190), "c": (16, 180)}, 0.05)
    assert found.gaps[0].low > 0.0 > found.gaps[0].lower
    assert "there may well be a gap of about 0.067" in found.reason
    assert "may be chance" in found.plain


def test_bounds_without_a_test_say_why_they_are_not_enough() -> None:
    found = replace(exactly(STYLES, 0.05), verdict=Verdict.INSUFFICIENT, p_adjusted=0.2)
    assert "groups dealt by chance differ as much too often (p 0.200)" in tell_reason(found, may_pass=True)


def test_as_many_times_the_items_as_are_named_show_the_gap_in_four_of_five_audits() -> None:
    gap = exactly({"a": (30, 300), "b": (12, 300)}, 0.02).gaps[0]
    room = np.array([gap.difference - 0.02])
    (times,) = times_needed(np.array([gap.difference - gap.lower]), room, tests=1)
    runs = [planted({"a": 0.10, "b": 0.04}, round(300 * times), seed=seed) for seed in range(60)]
    failed = sum(assess_harms(block(), one, order=ORDER)[0].verdict is Verdict.FAIL for one in runs)
    assert 36 < failed < 58  # of 60; 80 % is 48, within 1 in 1,000


@pytest.mark.parametrize(
    ("metric", "happens"),
    [("fpr", "More harmless items of game are acted on"), ("fnr", "More violating items of game are missed")],
)
def test_a_failure_says_who_fares_worse_by_how_much_and_how_sure(metric: str, happens: str) -> None:
    found = exactly(STYLES, 0.05, metric)
    lower = max(one.lower for one in found.gaps)
    assert found.verdict is Verdict.FAIL
    assert found.plain == (
        f"{happens}: 15.2 % against 0 % of mdi. It is 95 % sure that the difference is at least {100 * lower:.3g} points; 5 are tolerated."
    )


def test_an_open_harm_says_what_is_possible_and_a_pass_says_nothing() -> None:
    assert exactly({"a": (6, 100), "b": (5, 100)}, 0.05).plain.startswith(
        "No difference is shown, nor that there is none"
    )
    assert "whether it is too large is open: up to" in exactly(STYLES, 0.12).plain
    assert exactly({"a": (0, 900), "b": (0, 900)}, 0.05).plain == ""
    few = exactly({"a": (0, 900), "b": (0, 900), "c": (0, 3)}, 0.05)
    assert few.plain.endswith("not everybody could be compared.")
    assert in_plain_words(replace(few, verdict=Verdict.PASS)) == ""


def test_the_plain_sentences_stand_before_the_verdicts() -> None:
    audit = usual()
    (plain, *_) = [one.plain for one in audit.harms if one.plain]
    for text, table in ((render_html(audit, cuts={}), 'id="verdicts-head"'), (render_markdown(audit), "| harm |")):
        assert text.index(plain.split(":")[0]) < text.index(table)

"""The report: needs nothing else, escapes everything, and says what the decisions say."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from moderation.decision import Outcome
from moderation.policy.calibration import Calibration
from moderation.policy.lock import LockedAction
from moderation.policy.schema import Clause, Concept
from moderation.release.gallery import cards, groups
from moderation.release.report import Judged, Run, render_report
from tests.unit.release.report_runs import CARD, ORDER, make_run, make_stream

EVIL = """<script>alert("x")</script><img src=x onerror='y'>&"""


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.items: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        found = dict(attrs)
        if "data-item" in found:
            self.items.append(found)
        if found.get("id"):
            self.ids.append(str(found["id"]))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [make_run(name) for name in ("weapons", "fire", "alcohol")]


@pytest.fixture(scope="module")
def stream(runs: list[Run]) -> list[Judged]:
    return make_stream(runs)


@pytest.fixture(scope="module")
def html(runs: list[Run], stream: list[Judged]) -> str:
    return render_report(runs, stream, card=CARD, fingerprint="0/made-up", order=ORDER)


def test_a_region_is_drawn_over_its_picture_and_told_and_a_whole_picture_has_none(
    runs: list[Run], stream: list[Judged], html: str
) -> None:
    assert 'class="region"' not in html
    verdicts = [replace(one, region=(0.25, 0.0, 0.5, 1 / 3)) for one in stream[0].decision.verdicts]
    marked = [replace(stream[0], decision=replace(stream[0].decision, verdicts=tuple(verdicts)))]
    found = render_report(runs, marked, card=CARD, fingerprint="0/made-up", order=ORDER)
    shown = found.count('<li class="item"')
    assert shown >= 1
    assert found.count('<svg class="region"') == shown
    assert 'x="0.25" y="0.0" width="0.25" height="0.333' in found
    assert found.count("from 25% to 50% of the picture&#39;s width") == shown


def test_it_needs_nothing_but_itself(html: str) -> None:
    page = Page(html)
    text = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"//|@import|url\(", text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in {"src", "srcset", "href", "xlink:href", "data", "action", "poster"}:
            assert value.startswith(("data:image/webp;base64,", "#")), (tag, name, value)


def test_links_inside_lead_somewhere_and_ids_are_unique(html: str) -> None:
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= set(page.ids)


def test_every_picture_has_words_and_every_plot_a_table(html: str) -> None:
    page = Page(html)
    assert all(value for tag, name, value in page.attributes if tag == "img" and name == "alt")
    assert page.tags["img"] == sum(1 for tag, name, _ in page.attributes if tag == "img" and name == "alt") > 0
    assert html.count("The plot as a table") == 3


def test_text_from_policies_and_decisions_is_escaped(runs: list[Run], stream: list[Judged]) -> None:
    policy = runs[0].policy
    definition = policy.definition.model_copy(update={"violates": (Clause(id="v1", text=EVIL),)})
    concepts = policy.concepts.model_copy(update={"violating": (Concept(id="c", covers=("v1",), phrases=(EVIL,)),)})
    changed = {"title": EVIL, "owner": EVIL, "definition": definition, "concepts": concepts}
    run = replace(
        runs[0], policy=policy.model_copy(update=changed), lock=replace(runs[0].lock, evidence={EVIL: {EVIL: EVIL}})
    )
    one = stream[0]
    verdicts = tuple(replace(verdict, concept=EVIL, error=EVIL) for verdict in one.decision.verdicts)
    judged = replace(
        one, known=replace(one.known, cluster=EVIL), decision=replace(one.decision, verdicts=verdicts, action=EVIL)
    )
    html = render_report([run], [judged], card=CARD.model_copy(update={"name": EVIL}), fingerprint=EVIL, order=ORDER)
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "onerror='" not in html
    assert Page(html).tags["img"] == 1  # the item's own picture


def test_cards_say_what_the_decisions_say(html: str, stream: list[Judged]) -> None:
    by_id = {one.decision.item_id: one.decision for one in stream}
    shown = Page(html).items
    assert len(shown) > 30
    for item in shown:
        verdict = next(v for v in by_id[str(item["data-item"])].verdicts if v.policy == item["data-policy"])
        assert item["data-outcome"] == verdict.outcome.value
        assert item["data-score"] == str(verdict.score)
        assert item["data-threshold"] == str(verdict.threshold)


def test_an_action_is_not_said_again_where_the_outcome_has_its_name(html: str) -> None:
    told = re.findall(r'<span class="pill \w*">([\w ]+)</span>(?: <span class="soft">(\w+)</span>)?\n', html)
    assert ("review", "") in told
    assert any(action for _, action in told)
    assert [one for one in told if one[0] == one[1]] == []


def test_headings_count_every_picture_once(runs: list[Run], stream: list[Judged]) -> None:
    known, made = [one.known for one in stream], [one.decision for one in stream]
    shown = cards("weapons", known, made, [one.picture for one in stream])
    assert len(shown) == len({one.picture for one in stream})
    assert sum(card.seen for card in shown) == len(stream)
    found = {group.name: group.total for group in groups(shown)}
    for name, outcome, target in (("false-match", Outcome.MATCH, False), ("missed", Outcome.NO_MATCH, True)):
        assert found[name] == sum(c.verdict.outcome is outcome and c.target is target for c in shown)


def test_a_heading_shows_its_highest_scores_and_no_more_than_its_limit(stream: list[Judged]) -> None:
    known, made = [one.known for one in stream], [one.decision for one in stream]
    shown = cards("weapons", known, made, [one.picture for one in stream])
    near = next(group for group in groups(shown, limit=5) if group.name == "near")
    scores = [card.verdict.score or 0.0 for card in near.cards]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= max(
        c.verdict.score or 0.0
        for c in shown
        if c.verdict.outcome is Outcome.NO_MATCH and c.target is False and c not in near.cards
    )


def test_what_cannot_be_certified_says_how_many_more(html: str, runs: list[Run]) -> None:
    short = [one.shortfall for one in runs[2].lock.actions if one.shortfall]
    assert len(short) == 2
    for one in short:
        assert f"{one['more_violating']:,} more violating" in html
    assert "Highest scores" in html


def test_figures_of_certificates_are_the_locks(html: str, runs: list[Run]) -> None:
    for run in runs:
        for one in run.lock.actions:
            if one.threshold is not None and one.certificate:
                assert f"certified at score {one.threshold:.4f}" in html
                bound = one.certificate["precision_low" if one.metric == "precision" else "tpr_lower"]
                assert f"{100 * bound:.1f}\N{NO-BREAK SPACE}%" in html


def test_it_says_how_often_the_certify_targets_were_asked(html: str, runs: list[Run], stream: list[Judged]) -> None:
    assert html.count("How often its certify targets were asked") == len(runs)
    lock = replace(runs[0].lock, evidence={"certify": {"asked": 4}})
    page = render_report([replace(runs[0], lock=lock)], stream, card=CARD, fingerprint="0/made-up", order=ORDER)
    assert "question 4 to the same targets" in page


def test_it_says_what_is_counted_and_which_counts_overlap(html: str, runs: list[Run], stream: list[Judged]) -> None:
    known, made = [one.known for one in stream], [one.decision for one in stream]
    near = next(one for one in groups(cards("fire", known, made, [one.picture for one in stream])) if one.total > 1)
    assert f"({near.total} pictures)" in html
    assert html.count("the policies' counts overlap") == len(runs)
    assert "<dt>items: allow</dt>" in html
    assert "Kinds overlap" in html


def test_cache_hits_and_repeats_are_counted(html: str, stream: list[Judged]) -> None:
    hits = sum(one.decision.cache_hit for one in stream)
    assert hits == 10
    assert f"<dd>{hits}</dd><dt>cache hits, for 10 repeats</dt>" in html


def test_the_same_decisions_make_the_same_page(html: str, runs: list[Run], stream: list[Judged]) -> None:
    again = [
        Judged(o.known, o.picture, type(o.decision).from_dict(json.loads(json.dumps(o.decision.to_dict()))))
        for o in stream
    ]
    assert render_report(runs, again, card=CARD, fingerprint="0/made-up", order=ORDER) == html


def test_bands_the_trade_off_and_the_odds_are_told() -> None:
    certificate = {"violating": 40, "benign": 900, "flagged_violating": 39, "tpr_lower": 0.9, "share_upper": 0.2}
    run = make_run("fire")
    conflict = {
        "reason": "r", "more_violating": None, "more_benign": None, "best_bound": 0.0, "best_threshold": None,
        "trade_off": [
            {"threshold": 0.4321, "recall_lower": 0.9, "share_upper": 0.4, "flagged_violating": 12, "flagged_benign": 3456}
        ],
    }  # fmt: skip
    remove, review = (
        LockedAction(name, "recall", 0.9, 0.9, 0.5 + step, certificate)
        for name, step in (("remove", 0.0), ("review", 0.25))
    )
    short = LockedAction("label", "recall", 0.9, 0.9, shortfall=conflict)
    lock = replace(
        run.lock,
        actions=(remove, review, short),
        calibration=Calibration("sigmoid", (1.0, 1.0, 0.0)),
        evidence={**run.lock.evidence, "calibration": {"prevalence": 0.03}},
    )
    page = " ".join(
        render_report([replace(run, lock=lock)], [], card=CARD, fingerprint="0/made-up", order=ORDER).split()
    )
    assert "Scores from 0.5000 get “remove”." in page
    assert "Nothing gets “review”: its threshold 0.7500 is not below 0.5000, where “remove” takes over." in page
    assert "3,456" in page
    assert "a score of 0.25 means that 25.0" in page

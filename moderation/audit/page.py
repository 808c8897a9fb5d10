"""The audit for people: one HTML page that fetches nothing and runs no script, and a Markdown summary for pull requests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from moderation.audit.cells import LEAST_CLUSTERS
from moderation.audit.counterfactual import Move
from moderation.audit.gaps import Verdict
from moderation.audit.plots import curve, differences, dots, rates
from moderation.audit.ranking import Ranking
from moderation.audit.result import Audit, HarmResult, Rate
from moderation.errors import counted

SHOWN = 20  # rows of a table that could have thousands; the caption says of how many
LABEL = 26  # letters of a group's name beside its dot

_TONES = {Verdict.PASS: "good", Verdict.FAIL: "bad", Verdict.INSUFFICIENT: "warn", Verdict.NOT_ASSESSED: ""}
_METRICS = {
    "fpr": "share of benign items acted on",
    "fnr": "share of violating items not acted on",
    "review_share": "share of items sent to review",
}


def render_html(audit: Audit, *, cuts: Mapping[str, float]) -> str:
    """The page as HTML text; `cuts` are the thresholds in use, by action. The same audit gives the same text.

    Every text from a policy or a manifest is escaped; behind every plot stands its table.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "rate": _rate, "count": _count, "span": _span, "signed": _signed, "chance": _chance, "short": _short,
        "share": _share, "auc": _auc, "counted": counted, "bounded": _bounded, "matrix": _matrix, "suffix": lambda text, end: text + end,
    }  # fmt: skip
    folder = resources.files("moderation.audit")
    return environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8")).render(
        style=(folder / "page.css").read_text(encoding="utf-8"),
        audit=audit,
        plain=[one for one in audit.harms if one.plain],
        tones=_TONES,
        metrics=_METRICS,
        least=LEAST_CLUSTERS,
        shown=SHOWN,
        actions=list(dict.fromkeys(name for one in audit.attributes for group in one.groups for name in group.actions)),
        contents=[(place, name) for place, name, there in _sections(audit) if there],
        plots=[
            (one, dots(rates(one.cells)), curve(one.curve, one.tolerance, list(cuts.items()))) for one in audit.harms
        ],
        calibration={one.name: dots(differences(one.reliability)) for one in audit.attributes},
    )


def render_markdown(audit: Audit) -> str:
    """The summary as Markdown: the verdicts, the largest gaps, and what was not assessed."""
    lines = [
        f"# Audit of {_plain(audit.policy)} {audit.version}: {audit.verdict.value}",
        "",
        f"Revision `{audit.revision}`, {counted(audit.items, 'item')} ({audit.violating:,} violating) in {counted(audit.clusters, 'cluster')}"
        + (f", {audit.date}" if audit.date else "")
        + (f", by {_plain(audit.by)}" if audit.by else "")
        + f". Registered in advance as `{audit.registered[:16]}`.",
        "",
        *(
            f"- **{_plain(one.name)} by {_plain(one.attribute)}:** {_plain(one.plain)}"
            for one in audit.harms
            if one.plain
        ),
        "",
        "| harm | attribute | verdict | largest gap (95 %) | tolerance | p | why |",
        "|---|---|---|---|---|---|---|",
        *(_harm_row(one) for one in audit.harms),
        "",
        "## By group",
        "",
        "| harm | group | events / items (clusters) | rate (95 %) | detectable |",
        "|---|---|---|---|---|",
        *(
            f"| {_plain(one.name)} | {_plain(cell.group)} | {cell.events:,} / {cell.items:,} ({cell.clusters:,}) "
            f"| {_rate(cell.rate)} ({_span(cell)}) | {_rate(cell.detectable) if cell.compared else 'too few clusters'} |"
            for one in audit.harms
            for cell in one.cells
        ),
    ]
    for line in _beside(audit):
        lines += ["", _plain(line)]
    lines += ["", "## Not assessed", "", *(f"- {_plain(one)}" for one in audit.not_assessed)]
    lines += ["", "## Limits", "", *(f"- {_plain(one)}" for one in audit.limits)]
    return "\n".join(lines) + "\n"


def _beside(audit: Audit) -> Iterator[str]:
    """A sentence for each thing that stands beside the verdicts."""
    for one in audit.counterfactuals:
        told = (
            f"of {counted(one.pairs, 'pair')} {one.flips:,} treated differently, {_rate(one.flip_rate)} ({_span(one)})"
        )
        yield f"Counterfactual pairs in {one.attribute}: {told if one.pairs else 'no pairs'}."
    for attribute in audit.attributes:
        shares = ", ".join(f"{one.group} {_rate(one.rate)} ({_span(one)})" for one in attribute.overturns)
        if shares:
            yield f"Overturned after review, by {attribute.name}: {shares}."
    if audit.tests:
        count = Counter(one.status for one in audit.tests)
        passed = count["passed"] + count["promote"]
        yield f"Functional tests: {passed} passed, {count['failed']} failed, {counted(count['todo'], 'known gap')}."
    if audit.earlier:
        changed = [one for one in audit.earlier.changes if one.verdict_before != one.verdict_after]
        told = "; ".join(
            f"{one.harm} by {one.attribute}: {one.verdict_before}, now {one.verdict_after}" for one in changed
        )
        yield f"Since revision {audit.earlier.revision}: {told or 'every verdict is the same'}."


def _sections(audit: Audit) -> Iterator[tuple[str, str, bool]]:
    """Every section by its id and name, and whether this audit has it."""
    yield "verdicts-head", "Verdicts", True
    yield "groups", "Who was looked at", True
    yield "harms", "Each harm", True
    yield "ranking", "Without a threshold", True
    yield "intersections", "Intersections", bool(audit.intersections)
    yield "pairs", "Counterfactual pairs", bool(audit.counterfactuals)
    yield "design-head", "Class design", bool(audit.sensitivity)
    yield "associations", "Associations", bool(audit.associations)
    yield "tests", "Functional tests", bool(audit.tests)
    yield "review", "After review", any(one.overturns for one in audit.attributes)
    yield "earlier", "Since an earlier audit", audit.earlier is not None
    yield "article", "Article 15", True
    yield "not-assessed", "Not assessed", True
    yield "limits", "Limits", True
    yield "words", "What the figures mean", True


def _matrix(moves: Sequence[Move]) -> tuple[list[str], list[list[str]]]:
    """Counts of pairs as rows over columns of actions; a pair stands once, above the diagonal."""
    names = list(dict.fromkeys(name for one in moves for name in (one.one, one.other)))
    counts = {(one.one, one.other): one.pairs for one in moves}
    return names, [[_count(counts[a, b]) if (a, b) in counts else "" for b in names] for a in names]


def _harm_row(one: HarmResult) -> str:
    gap = f"{one.gaps[0].difference:.3f} ({one.gaps[0].low:.3f} to {one.gaps[0].high:.3f})" if one.gaps else "none"
    cells = (
        _plain(one.name),
        _plain(one.attribute),
        f"**{one.verdict.value}**",
        gap,
        f"{one.tolerance:g}",
        _chance(one.p_adjusted),
        _plain(one.reason),
    )
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """One line that says what it says: no Markdown, no HTML, no broken table, and nobody is called by name in a pull request."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace("@", "@\u200b")


def _rate(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _share(one: Rate) -> str:
    return "none seen" if one.rate is None else f"{one.rate:.3f} ({_span(one)})"


def _bounded(one: Mapping[str, Any]) -> str:
    return "none seen" if one["rate"] is None else f"{one['rate']:.3f} ({one['low']:.3f} to {one['high']:.3f})"


def _auc(one: Ranking) -> str:
    return f"undefined: {one.undefined}" if one.auc is None else f"{one.auc:.3f} ({_span(one)})"


def _short(text: str) -> str:
    return text if len(text) <= LABEL else f"{text[: LABEL - 1]}…"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _span(bounds: Any) -> str:
    nothing = bounds.low is None or bounds.high is None or getattr(bounds, "rate", 0.0) is None
    return "no interval" if nothing else f"{bounds.low:.3f} to {bounds.high:.3f}"


def _signed(value: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _chance(p: float | None) -> str:
    return "not tested" if p is None else "under 0.001" if p < 0.001 else f"{p:.3f}"

"""The audit for people: one HTML page that fetches nothing and runs no script, and a Markdown summary for pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2

from moderation.audit.cells import LEAST_CLUSTERS
from moderation.audit.gaps import Verdict
from moderation.audit.plots import curve, dots
from moderation.audit.result import Audit, HarmResult

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
    environment.filters |= {"rate": _rate, "count": _count, "span": _span, "signed": _signed, "chance": _chance}
    folder = resources.files("moderation.audit")
    return environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8")).render(
        style=(folder / "page.css").read_text(encoding="utf-8"),
        audit=audit,
        tones=_TONES,
        metrics=_METRICS,
        least=LEAST_CLUSTERS,
        plots=[(one, dots(one.cells), curve(one.curve, one.tolerance, list(cuts.items()))) for one in audit.harms],
    )


def render_markdown(audit: Audit) -> str:
    """The summary as Markdown: the verdicts, the largest gaps, and what was not assessed."""
    lines = [
        f"# Audit of {_plain(audit.policy)} {audit.version}: {audit.verdict.value}",
        "",
        f"Revision `{audit.revision}`, {audit.items:,} items ({audit.violating:,} violating) in {audit.clusters:,} clusters"
        + (f", {audit.date}" if audit.date else "")
        + f". Registered in advance as `{audit.registered[:16]}`.",
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
    for one in audit.counterfactuals:
        rate = "no pairs" if one.flip_rate is None else f"{one.flips:,} of {one.pairs:,} pairs are treated differently"
        lines += ["", f"Counterfactual pairs in {_plain(one.attribute)}: {rate}."]
    lines += ["", "## Not assessed", "", *(f"- {_plain(one)}" for one in audit.not_assessed)]
    lines += ["", "## Limits", "", *(f"- {_plain(one)}" for one in audit.limits)]
    return "\n".join(lines) + "\n"


def _harm_row(one: HarmResult) -> str:
    gap = f"{one.gaps[0].difference:.3f} ({one.gaps[0].low:.3f} to {one.gaps[0].high:.3f})" if one.gaps else "none"
    cells = (
        one.name,
        one.attribute,
        f"**{one.verdict.value}**",
        gap,
        f"{one.tolerance:g}",
        _chance(one.p_adjusted),
        one.reason,
    )
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """One line that no Markdown table is broken by."""
    return text.replace("\n", " ").replace("|", "\\|")


def _rate(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _span(bounds: Any) -> str:
    return "no interval" if bounds.low is None or bounds.high is None else f"{bounds.low:.3f} to {bounds.high:.3f}"


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"


def _chance(p: float | None) -> str:
    return "not tested" if p is None else "under 0.001" if p < 0.001 else f"{p:.3f}"

"""The tables of both READMEs, from the encoder's card: python examples/bundled_encoder/figures.py [--card CARD] [--write]."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CARD = HERE.parents[1] / "moderation" / "bundled" / "encoder" / "card.json"
POLICIES = ("weapons", "fire", "alcohol", "gambling", "smoking", "rude_gesture")
GROUPS = {
    "seen_objects_new_renderings": "objects seen, new renderings",
    "objects_never_drawn": "objects never drawn in training",
    "style_never_seen_fxemoji": "style never seen: fxemoji",
    "style_never_seen_fxemoji_objects_seen": "fxemoji, objects drawn in other styles",
    "style_never_seen_openmoji": "style never seen: openmoji",
    "style_never_seen_openmoji_objects_seen": "openmoji, objects drawn in other styles",
}
SUMMARY = {
    "seen_objects_new_renderings": ("new renderings of objects seen", 0.95),
    "objects_never_drawn": ("objects never drawn in training", 0.85),
    "style_never_seen_fxemoji": ("a style never seen: fxemoji", 0.85),
    "style_never_seen_openmoji": ("a style never seen: openmoji", 0.85),
}
WAYS = {"compiled": "compiled, L1", "margin": "margin", "violating": "violating only"}


def areas(metrics: Mapping[str, Any]) -> Iterator[str]:
    """One line for each group and way of scoring: means, the worst policy, each policy with interval and objects."""
    yield (
        "| measured on | scoring | mean AUC | of policies with two objects or more | worst | "
        + " | ".join(POLICIES)
        + " |"
    )
    yield "|---|---|---|---|---|" + "---|" * len(POLICIES)
    for group, told in GROUPS.items():
        for way, named in WAYS.items():
            part, headline = metrics[group][way], way == "compiled"
            cells = [_cell(part["auc"].get(policy), whole=headline) for policy in POLICIES]
            worst = f"{part['worst']} {part['auc'][part['worst']]['value']:.2f}"
            means = f"**{part['mean']:.3f}** | {part['mean_of_several']:.3f}"
            yield f"| {told if headline else ''} | {named} | {means} | {worst} | {' | '.join(cells)} |"


def retrieval(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Name to picture, for each style never seen, on plain drawings and in scenes."""
    yield "| name → picture, all base emoji of the style | recall@1 | recall@5 |"
    yield "|---|---|---|"
    for style in ("fxemoji", "openmoji"):
        for kind in ("plain", "scenes"):
            one, five = (metrics[f"style_never_seen_{style}"][f"recall_at_{k}_{kind}"] for k in (1, 5))
            yield f"| {style}, {kind} | {one:.2f} | {five:.2f} |"


def summary(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What the project's README says: one line for each headline, and the recalls and means of its sentences."""
    for group, (told, aim) in SUMMARY.items():
        part = metrics[group]["compiled"]
        worst = part["auc"][part["worst"]]
        alone = " (one drawing)" if worst["positives"] == 1 else ""
        yield f"| {told} | {part['mean']:.2f} | {worst['value']:.2f} {part['worst']}{alone} | {aim} |"
    recalls = [metrics[f"style_never_seen_{style}"]["recall_at_5_plain"] for style in ("fxemoji", "openmoji")]
    yield "{:.2f} in fxemoji, {:.2f} in openmoji".format(*recalls)
    means = [metrics[f"style_never_seen_{style}"]["compiled"]["mean_of_several"] for style in ("fxemoji", "openmoji")]
    yield "{:.2f} (fxemoji) and {:.2f} (openmoji)".format(*means)


def _cell(area: Mapping[str, float] | None, *, whole: bool) -> str:
    if area is None:
        return "–"
    value = f"{area['value']:.2f}"
    return f"{value} ({area['low']:.2f}–{area['high']:.2f}), {area['positives']}" if whole else value


def written(page: str, lines: Sequence[str]) -> str:
    """The page with a table in the place of the one that has the same head; raises ValueError without one."""
    head = "\n".join(lines[:2])
    table = re.compile(re.escape(head) + r"(?:\n\|.*)*")
    if not table.search(page):
        raise ValueError(f"no table with the head {lines[0]!r}; expected one to put the new one in its place")
    return table.sub(lambda _: "\n".join(lines), page)


def summarised(page: str, metrics: Mapping[str, Any]) -> str:
    """The project's figures with their lines of `summary`."""
    *rows, recalls, means = summary(metrics)
    for row in rows:
        named = row[: row.index(" |", 2) + 2]
        page = re.sub(rf"^{re.escape(named)}.*$", lambda _, row=row: row, page, flags=re.MULTILINE)  # type: ignore[misc]
    page = re.sub(r"\d\.\d\d in fxemoji, \d\.\d\d in openmoji", recalls, page)
    return re.sub(r"\d\.\d\d \(fxemoji\) and \d\.\d\d \(openmoji\)", means, page)


def write_pages(metrics: Mapping[str, Any]) -> None:
    """Put the tables into the README here and the project's figures."""
    own, project = HERE / "README.md", HERE.parents[1] / "docs" / "figures.md"
    page = own.read_text(encoding="utf-8")
    for table in (areas(metrics), retrieval(metrics)):
        page = written(page, list(table))
    own.write_text(page, encoding="utf-8")
    project.write_text(summarised(project.read_text(encoding="utf-8"), metrics), encoding="utf-8")


def main() -> None:
    """Print the tables, or put them into their pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", type=Path, default=CARD)
    parser.add_argument("--write", action="store_true", help="into the README here and the project's figures")
    options = parser.parse_args()
    metrics = json.loads(options.card.read_text(encoding="utf-8"))["metrics"]
    if options.write:
        write_pages(metrics)
    else:
        print("\n".join([*areas(metrics), "", *retrieval(metrics)]))


if __name__ == "__main__":
    main()

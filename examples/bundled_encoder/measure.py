"""Measures an encoder on what training never saw: new renderings, objects never drawn, styles never seen; phrases never used as captions."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drawings import EMOJI_STYLES, MEASURED_STYLES
from heldout import read_categories, read_rule
from PIL import Image
from scenes import plain, scene

from moderation.compiler.heads import Bank, normalised_head
from moderation.compiler.phrases import PhraseVectors
from moderation.detector.head import Head
from moderation.training.evaluation.policy import auc, policy_scores, recall_at

EncodeImages = Callable[[Sequence[bytes]], np.ndarray]
EncodeTexts = Callable[[Sequence[str]], np.ndarray]
BANK = 600
NAME_TEMPLATES = ("{}", "an emoji of {}", "a picture of a {}")


@dataclass(frozen=True, slots=True)
class Collection:
    """Rendered drawings: rows as render.py wrote them, and where each one's pixels are."""

    rows: Sequence[Mapping[str, Any]]
    pixels: np.ndarray

    def where(self, keep: Callable[[Mapping[str, Any]], bool]) -> list[int]:
        """Positions of the rows that are drawn and wanted."""
        return [i for i, row in enumerate(self.rows) if not row["empty"] and keep(row)]


def open_collection(rendered: Path, name: str) -> Collection:
    """The train or measured array with its rows."""
    rows = [json.loads(line) for line in (rendered / f"{name}.jsonl").open(encoding="utf-8")]
    return Collection(rows, np.load(rendered / f"{name}.npy", mmap_mode="r"))


def kinds_of(row: Mapping[str, Any], categories: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Mapping[str, str]:
    """Policy to "match", "ambiguous" or "lookalike" for one drawing."""
    if row["source"] in categories:
        return categories[row["source"]].get(row["file"], {})
    if row["name"] == "pistol":  # drawn as a firearm by the sets that still have it
        return {"weapons": "match"}
    return categories["emoji"].get(row["name"], {})


def policy_areas(
    rows: Sequence[Mapping[str, Any]], images: np.ndarray, texts: EncodeTexts, bank: np.ndarray
) -> dict[str, dict[str, dict[str, float]]]:
    """Way of scoring to policy to its area, interval and counts, over `rows` with vectors `images`.

    What is ambiguous for a policy is left out of both of its sides. "compiled" is the compiler's L1 (phrases and a bank of benign
    vectors), "margin" the best violating cosine less a soft maximum of contrast, "violating" the best violating cosine alone.
    """
    categories = read_categories()
    found: dict[str, dict[str, dict[str, float]]] = {"compiled": {}, "margin": {}, "violating": {}}
    kinds = [kinds_of(row, categories) for row in rows]
    for policy, phrases in read_rule()["phrases"].items():
        keep = np.array([k.get(policy) != "ambiguous" for k in kinds])
        positive = np.array([k.get(policy) == "match" for k in kinds])[keep]
        if not positive.any():
            continue
        violating, contrast = texts(phrases["violating"]), texts(phrases["contrast"])
        objects = [row["object"] for row, kept in zip(rows, keep, strict=True) if kept]
        scores = {
            "compiled": compiled(violating, contrast, bank).raw(images[keep].astype(np.float16)),
            "margin": policy_scores(images[keep], violating, contrast),
            "violating": (images[keep] @ violating.T).max(axis=1),
        }
        for way, values in scores.items():
            found[way][policy] = asdict(auc(values, positive, objects))
    return found


def compiled(violating: np.ndarray, contrast: np.ndarray, bank: np.ndarray) -> Head:
    """The head that `moderation policy compile` makes of phrases without targets (L1)."""
    nothing = np.zeros((0, bank.shape[1]), np.float16)
    return normalised_head(
        PhraseVectors((), violating, contrast, violating.astype(np.float16)), Bank(bank.astype(np.float16), nothing, 0)
    )


def measure(
    rendered: Path, photos: Sequence[Image.Image], images: EncodeImages, texts: EncodeTexts, *, seed: int = 7
) -> dict[str, Any]:
    """All figures of the card, as plain JSON."""
    train, measured = open_collection(rendered, "train"), open_collection(rendered, "measured")
    sources = {*EMOJI_STYLES, "game-icons", "mdi"}
    known = {row["object"] for row in train.rows if not row["empty"]}
    groups = {
        "seen_objects_new_renderings": (train, _some(train, train.where(lambda r: r["source"] in sources), seed, 3000)),
        "objects_never_drawn": (measured, measured.where(lambda r: r["source"] in sources)),
    }
    # All objects of a style, then those that other styles drew in training: what the style alone costs.
    for style in MEASURED_STYLES:
        chosen = measured.where(lambda r, style=style: r["source"] == style)
        groups[f"style_never_seen_{style}"] = (measured, chosen)
        drawn = [i for i in chosen if measured.rows[i]["object"] in known]
        groups[f"style_never_seen_{style}_objects_seen"] = (measured, drawn)
    rng = np.random.default_rng(seed + 1)
    benign = rng.permutation(train.where(lambda r: r["source"] in sources and not kinds_of(r, read_categories())))[
        :BANK
    ]
    bank = images([scene(train.pixels[i], rng, photos) for i in benign])
    report: dict[str, Any] = {}
    for name, (collection, chosen) in groups.items():
        rng = np.random.default_rng(seed)
        rows = [collection.rows[i] for i in chosen]
        vectors = images([scene(collection.pixels[i], rng, photos) for i in chosen])
        report[name] = {way: _with_mean(areas) for way, areas in policy_areas(rows, vectors, texts, bank).items()}
        if name.removeprefix("style_never_seen_") in MEASURED_STYLES:
            report[name] |= _retrieval(rows, vectors, texts, "scenes")
            flat = images([plain(collection.pixels[i]) for i in chosen])
            report[name] |= _retrieval(rows, flat, texts, "plain")
    return report


def _with_mean(areas: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    values = {policy: area["value"] for policy, area in areas.items()}
    several = [area["value"] for area in areas.values() if area["positives"] > 1]  # of one object nothing can be said
    means = {"mean": list(values.values()), "mean_of_several": several}
    short = {p: {k: round(v, 4) for k, v in area.items()} for p, area in areas.items()}
    return {name: round(float(np.mean(found)), 4) for name, found in means.items()} | {
        "worst": min(values, key=lambda policy: values[policy]),
        "auc": short,
    }


def _some(collection: Collection, chosen: list[int], seed: int, most: int) -> list[int]:
    """Every drawing that is anything to a policy, look-alikes too, and a fair sample of the others, `most` in all."""
    categories = read_categories()
    wanted = [i for i in chosen if kinds_of(collection.rows[i], categories)]
    others = np.array(sorted(set(chosen) - set(wanted)))
    return sorted(wanted + np.random.default_rng(seed).permutation(others)[: most - len(wanted)].tolist())


def _retrieval(
    rows: Sequence[Mapping[str, Any]], images: np.ndarray, texts: EncodeTexts, kind: str
) -> dict[str, float]:
    names = [row["name"] for row in rows]
    wanted = list(dict.fromkeys(names))
    queries = np.mean([texts([template.format(name) for name in wanted]) for template in NAME_TEMPLATES], axis=0)
    return {f"recall_at_{k}_{kind}": round(recall_at(k, queries, images, wanted, names), 4) for k in (1, 5)}


def measuring_photos(data: Path) -> list[Image.Image]:
    """Photographs to lie behind drawings that training never lay behind any."""
    found = []
    with tarfile.open(data / "photos/skimage_samples.tar") as archive:
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
            handle = archive.extractfile(f"./{name}")
            if handle is not None:
                found.append(Image.open(io.BytesIO(handle.read())).convert("RGB"))
    return found


def summary(report: Mapping[str, Any]) -> str:
    """A few lines for people."""
    lines = []
    for name, part in report.items():
        lines.append(name + "".join(f"  {k} {v:.3f}" for k, v in part.items() if k.startswith("recall")))
        for way in ("compiled", "margin", "violating"):
            areas = part[way]["auc"]
            each = "  ".join(
                f"{p} {a['value']:.3f} [{a['low']:.2f}, {a['high']:.2f}] n={a['positives']}" for p, a in areas.items()
            )
            lines.append(f"    {way}: mean {part[way]['mean']:.3f}, worst {part[way]['worst']}; {each}")
    return "\n".join(lines)

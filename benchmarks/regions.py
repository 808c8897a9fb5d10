"""What tiles are worth: small objects in large photographs, found by the whole picture, by crops, and by tiles of several scales; and where.

Each violating object is pasted once into a photograph of clothes (CC0; enlarged to 1,024 pixels a side), at 1/4, 1/8 and 1/16 of its short side, at a place
drawn by a seed; benign ones in the same way, so that being pasted tells nothing. Two kinds of objects:

- cards: photographs of playing cards (Apache-2.0), 67 that nothing was fitted on, beside photographs of clothes; the classifier is the policy `gambling`,
  compiled with 200 other photographs of each as fit targets.
- weapons: the drawings that the policy `weapons` is certified on, and its shipped lock.

The score is the highest of all views, as in the pipeline; what cuts is the built-in reader itself.

    MODERATION_DATA=... python benchmarks/regions.py [--kinds cards weapons] [--benign 200] [--json]

Reported for each size: average precision and recall at a false-positive rate of 5 %, with 95 % bootstrap intervals (objects drawn anew, violating and
benign apart), how many of the benign lie above what cuts 5 % of them off by the whole picture alone, and pictures encoded for an item; `alone` is the object's own picture, the most that can be hoped for.
Then, of the violating, how often the object's centre lies in the region that is shown, and the region's centre in the object's box: for the tile with the highest score, which
is what decisions show, and for ways to look closer, which are compared here alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from moderation.compiler.compile import compile_policy
from moderation.detector.concept import ConceptDetector
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.checkpoint import load
from moderation.encoder.clip import TorchEncoder
from moderation.encoder.images import decode
from moderation.encoder.preprocess import fit, normalise
from moderation.item import Part, Region, content_digest
from moderation.plugin_sections import ReaderSettings
from moderation.policy.loader import load_policy
from moderation.policy.lock import lock_path, read_lock
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.reader.tiles import Tiles
from moderation.settings import ImageLimits, Settings

ROOT = Path(__file__).resolve().parents[1]
SIDE = 1024  # of a photograph's short side
PARTS = (4, 8, 16)  # of that side, an object's
FALSE_POSITIVES = 0.05
DRAWS = 1000
FIT = 200
SEED = 0
LIMITS = ImageLimits()
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
# The finest scale that counts in each way, and whether the best of a view's patches counts for it, too; 0 is the picture alone.
WAYS = {
    "whole": (0, False),
    "patches of the whole": (0, True),
    "crops (1)": (1, False),
    "tiles (1, 2)": (2, False),
    "patches of tiles (1, 2)": (2, True),
    "tiles (1, 2, 4)": (4, False),
    "patches of tiles (1, 2, 4)": (4, True),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scene:
    """A photograph with one object in it."""

    content: bytes
    violating: bool
    box: Region


@dataclass(frozen=True, slots=True)
class Seen:
    """The score of each view of a scene, and of the best of its patches: the whole picture, then its tiles; `scale` is 0, 1, 2 or 4."""

    scene: Scene
    regions: Sequence[Region]
    scales: NDArray[np.int64]
    scores: Floats
    patches: Floats


@dataclass(frozen=True, slots=True)
class Material:
    """What scenes are made of, and the head that judges them."""

    head: Head
    violating: Sequence[bytes]
    benign: Sequence[bytes]
    photographs: Sequence[bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=("cards", "weapons"), default=("cards", "weapons"))
    parser.add_argument("--benign", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    encoder = load("bundled", device="cpu")
    assert isinstance(encoder, TorchEncoder)
    told = {kind: _measure(MATERIALS[kind](encoder, given.benign), encoder) for kind in given.kinds}
    print(json.dumps(told, indent=1) if given.json else "\n\n".join(_table(kind, one) for kind, one in told.items()))


def _measure(material: Material, encoder: TorchEncoder) -> dict[str, Any]:
    objects = [*((one, True) for one in material.violating), *((one, False) for one in material.benign)]
    alone = [
        _seen(
            Scene(content, target, WHOLE),
            [WHOLE],
            np.zeros(1, np.int64),
            [content],
            encoder=encoder,
            head=material.head,
        )
        for content, target in objects
    ]
    told: dict[str, Any] = {"violating": len(material.violating), "benign": len(material.benign), "sizes": {}}
    told["alone"] = _found(alone, *WAYS["whole"])
    chance = random.Random(SEED)
    for part in PARTS:
        seen = [
            _see(_scene(photograph, content, part, chance, violating=target), encoder, material.head)
            for photograph, (content, target) in zip(material.photographs, objects, strict=True)
        ]
        found = {way: _found(seen, *counted) for way, counted in WAYS.items()}
        cut = found["tiles (1, 2, 4)"]["threshold"]
        where = _pointing([one for one in seen if one.scene.violating], encoder, material.head, cut)
        told["sizes"][f"1/{part}"] = {"found": found, "where": where}
    return told


def _weapons(encoder: TorchEncoder, benign: int) -> Material:  # noqa: ARG001 - the lock is there
    policy = load_policy(ROOT / "policies" / "weapons.yaml", action_names=Settings().actions)
    assert policy.data.certify is not None
    head = ConceptDetector(read_lock(lock_path(ROOT / "policies", policy.id))).head
    rows, chance = load_manifest(policy.data.certify), random.Random(SEED)
    violating = [row.read().content for row in rows if row.target]
    sample = chance.sample([row for row in rows if not row.target], benign)
    photographs = chance.sample(_photographs("clothing_cc0_subset"), len(violating) + benign)
    return Material(head, violating, [row.read().content for row in sample], photographs)


def _cards(encoder: TorchEncoder, benign: int) -> Material:
    policy = load_policy(ROOT / "policies" / "gambling.yaml", action_names=Settings().actions)
    chance = random.Random(SEED)
    clothes = _photographs("clothing_cc0_subset")
    chance.shuffle(clothes)
    train, held_out = (_photographs("playing_cards_363", split) for split in ("train", "test"))
    with tempfile.TemporaryDirectory() as folder:
        fit = _manifest(Path(folder), chance.sample(train, FIT), clothes[:FIT])
        background = load_manifest(ROOT / "policies" / "data" / "background.jsonl")
        lock = compile_policy(policy, Embedder(encoder, MemoryCache(10_000_000)), fit=fit, background=background)
    benign_objects, rest = clothes[FIT : FIT + benign], clothes[FIT + benign :]
    return Material(
        ConceptDetector(lock).head, held_out, benign_objects, chance.sample(rest, len(held_out) + len(benign_objects))
    )


MATERIALS = {"cards": _cards, "weapons": _weapons}


def _manifest(folder: Path, violating: Sequence[bytes], benign: Sequence[bytes]) -> Sequence[TargetRow]:
    lines = []
    for number, content in enumerate([*violating, *benign]):
        (folder / f"{number}.jpg").write_bytes(content)
        row = {"path": f"{number}.jpg", "sha256": content_digest(content), "target": number < len(violating)}
        lines.append(json.dumps({**row, "cluster": str(number)}))
    (folder / "fit.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return load_manifest(folder / "fit.jsonl")


def _photographs(name: str, split: str = "") -> list[bytes]:
    """The files of a collection, of one split of it where it has some."""
    folder = Path(os.environ["MODERATION_DATA"]) / "photos"
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row.get("split", "") == split]
    with tarfile.open(folder / f"{name}.tar") as tar:
        files = (tar.extractfile(one) for one in names)
        return [file.read() for file in files if file]


def _scene(content: bytes, pasted: bytes, part: int, chance: random.Random, *, violating: bool) -> Scene:
    photograph, side = decode(content, LIMITS), SIDE // part
    scale = SIDE / min(photograph.size)
    scene = photograph.resize([round(scale * one) for one in photograph.size], Image.Resampling.BICUBIC)
    object_ = decode(pasted, LIMITS)
    object_ = ImageOps.fit(object_, (side, side), Image.Resampling.BICUBIC)
    left, top = (chance.randrange(whole - side + 1) for whole in scene.size)
    scene.paste(object_, (left, top))
    file = io.BytesIO()
    scene.save(file, "JPEG", quality=95)
    width, height = scene.size
    box = left / width, top / height, (left + side) / width, (top + side) / height
    return Scene(file.getvalue(), violating, box)


def _see(scene: Scene, encoder: TorchEncoder, head: Head) -> Seen:
    settings = ReaderSettings().tiles
    (tiles,) = Tiles(settings, LIMITS).read((Part.image(scene.content),))
    assert isinstance(tiles, list)
    regions = [WHOLE, *(one.region for one in tiles)]
    short = decode(scene.content, LIMITS).size
    sides = [min((r[2] - r[0]) * short[0], (r[3] - r[1]) * short[1]) for r in regions]
    scales = np.array([0, *(round(min(short) / side) for side in sides[1:])])
    return _seen(scene, regions, scales, [scene.content, *(one.content for one in tiles)], encoder=encoder, head=head)


def _seen(
    scene: Scene,
    regions: Sequence[Region],
    scales: NDArray[np.int64],
    views: Sequence[bytes],
    *,
    encoder: TorchEncoder,
    head: Head,
) -> Seen:
    scores = head.score(encoder.encode_images(views).vectors).values
    patches = _cells([decode(one, LIMITS) for one in views], encoder, head).max((1, 2))
    return Seen(scene, regions, scales, scores, np.maximum(scores, patches))


def _found(seen: Sequence[Seen], finest: int, patches: bool) -> dict[str, Any]:  # noqa: FBT001 - a way's two words
    scores = np.array([(one.patches if patches else one.scores)[one.scales <= finest].max() for one in seen])
    target = np.array([one.scene.violating for one in seen])
    whole = np.array([one.scores[0] for one in seen])
    draw = np.random.default_rng(SEED)
    sides = np.flatnonzero(target), np.flatnonzero(~target)
    drawn = [np.concatenate([draw.choice(side, len(side)) for side in sides]) for _ in range(DRAWS)]
    return {
        "average_precision": _with_interval(_average_precision, scores, target, drawn),
        "recall": _with_interval(_recall, scores, target, drawn),
        "threshold": _threshold(scores, target),
        "over_the_whole_cut": float((scores[~target] > _threshold(whole, target)).mean()),
        "encoded": float(np.mean([(one.scales <= finest).sum() for one in seen])),
    }


def _with_interval(
    measure: Callable[[Floats, NDArray[np.bool_]], float],
    scores: Floats,
    target: NDArray[np.bool_],
    drawn: Sequence[NDArray[np.int64]],
) -> tuple[float, float, float]:
    low, high = np.quantile([measure(scores[rows], target[rows]) for rows in drawn], (0.025, 0.975))
    return measure(scores, target), float(low), float(high)


def _average_precision(scores: Floats, target: NDArray[np.bool_]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(target, scores))


def _recall(scores: Floats, target: NDArray[np.bool_]) -> float:
    return float((scores[target] > _threshold(scores, target)).mean())


def _threshold(scores: Floats, target: NDArray[np.bool_]) -> float:
    """What this share of the benign lie above."""
    return float(np.quantile(scores[~target], 1.0 - FALSE_POSITIVES, method="higher"))


def _pointing(seen: Sequence[Seen], encoder: TorchEncoder, head: Head, cut: float) -> dict[str, Any]:
    """Of all violating scenes and of those found: how often a way's region holds the object's centre, or has its own centre inside the object."""
    ways: dict[str, Callable[[Seen, Image.Image], Region]] = {
        "top tile": lambda one, _: _top(one),
        "heat of tiles": lambda one, _: _heat(one),
        "patches in it": lambda one, picture: _within(_top(one), _patches(_crop(picture, _top(one)), encoder, head)),
        "occlusion in it": lambda one, picture: _within(_top(one), _occluded(_crop(picture, _top(one)), encoder, head)),
        "zoom into it": lambda one, picture: _within(_top(one), _zoomed(_crop(picture, _top(one)), encoder, head)),
    }
    pictures = [decode(one.scene.content, LIMITS) for one in seen]
    found = np.array([one.scores.max() > cut for one in seen])
    told = {}
    for name, way in ways.items():
        shown = [way(one, picture) for one, picture in zip(seen, pictures, strict=True)]
        holds = np.array([_holds(region, one.scene.box) for region, one in zip(shown, seen, strict=True)])
        inside = np.array([_holds(one.scene.box, region) for region, one in zip(shown, seen, strict=True)])
        told[name] = {
            "region_holds_object": [float(holds.mean()), float(holds[found].mean())],
            "centre_in_object": [float(inside.mean()), float(inside[found].mean())],
            "area": float(np.mean([(r[2] - r[0]) * (r[3] - r[1]) for r in shown])),
        }
    return {"found": int(found.sum()), "of": len(seen), "ways": told}


def _holds(outer: Region, inner: Region) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] <= x <= outer[2] and outer[1] <= y <= outer[3]


def _top(seen: Seen) -> Region:
    return seen.regions[int(seen.scores.argmax())]


def _heat(seen: Seen) -> Region:
    """The cell of a grid of 32 by 32 whose views score highest on average, over the scales."""
    heat = np.zeros((32, 32))
    for scale in (1, 2, 4):
        total, count = np.zeros((32, 32)), np.zeros((32, 32))
        for region, own, score in zip(seen.regions, seen.scales, seen.scores, strict=True):
            if own == scale:
                left, top, right, bottom = (round(32 * edge) for edge in region)
                total[top:bottom, left:right] += score
                count[top:bottom, left:right] += 1
        heat += total / np.maximum(count, 1)
    best = np.argwhere(heat > heat.max() - 1e-9)
    (top, left), (bottom, right) = best.min(0) / 32, (best.max(0) + 1) / 32
    return float(left), float(top), float(right), float(bottom)


def _crop(picture: Image.Image, region: Region) -> Image.Image:
    width, height = picture.size
    return picture.crop(tuple(round(one) for one in np.array(region) * (width, height, width, height)))


def _within(tile: Region, inner: Region) -> Region:
    width, height = tile[2] - tile[0], tile[3] - tile[1]
    return (
        tile[0] + inner[0] * width,
        tile[1] + inner[1] * height,
        tile[0] + inner[2] * width,
        tile[1] + inner[3] * height,
    )


def _patches(tile: Image.Image, encoder: TorchEncoder, head: Head) -> Region:
    """The cell that scores highest."""
    (cells,) = _cells([tile], encoder, head)
    rows, columns = cells.shape
    row, column = divmod(int(cells.argmax()), columns)
    return column / columns, row / rows, (column + 1) / columns, (row + 1) / rows


def _cells(pictures: Sequence[Image.Image], encoder: TorchEncoder, head: Head) -> Floats:
    """The scores of the cells of the last feature map, [pictures, rows, columns], each projected as the whole is (exact for a network that averages them)."""
    assert encoder.image is not None
    model: Any = encoder.image.tower
    card = encoder.image.card
    pixels = torch.from_numpy(np.stack([fit(one, card) for one in pictures]))
    with torch.inference_mode():
        last = model.model.vision_model(pixel_values=normalise(pixels, card)).last_hidden_state
        cells = torch.nn.functional.normalize(model.model.visual_projection(last.flatten(2).mT), dim=-1)
    scores = head.score(cells.flatten(0, 1).to(torch.float16).numpy()).values
    return scores.reshape(len(pictures), *last.shape[2:])


def _occluded(tile: Image.Image, encoder: TorchEncoder, head: Head) -> Region:
    """Where a grey square of a third of the side takes most of the score away."""
    windows = [(x / 6, y / 6, x / 6 + 1 / 3, y / 6 + 1 / 3) for y in range(5) for x in range(5)]
    hidden = []
    for window in windows:
        copy = tile.copy()
        left, top, right, bottom = (round(one) for one in np.array(window) * (*tile.size, *tile.size))
        copy.paste((128, 128, 128), (left, top, right, bottom))
        hidden.append(_png(copy))
    return windows[int(head.raw(encoder.encode_images(hidden).vectors).argmin())]


def _zoomed(tile: Image.Image, encoder: TorchEncoder, head: Head) -> Region:
    """The best of nine halves of the tile."""
    windows = [(x / 4, y / 4, x / 4 + 0.5, y / 4 + 0.5) for y in range(3) for x in range(3)]
    vectors = encoder.encode_images([_png(_crop(tile, window)) for window in windows]).vectors
    return windows[int(head.raw(vectors).argmax())]


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=0)
    return file.getvalue()


def _table(kind: str, told: dict[str, Any]) -> str:
    lines = [
        f"{kind}: {told['violating']} violating, {told['benign']} benign objects, each in a photograph of its own",
        "",
    ]
    lines.append("| object | judged by | average precision | recall at 5 % | benign above the whole's cut | encoded |")
    lines += ["|---|---|---|---|---|---|", _row("alone", "its own picture", told["alone"])]
    for size, one in told["sizes"].items():
        lines += [_row(size, way, found) for way, found in one["found"].items()]
    lines += ["", "| object | shown | object's centre in the region | region's centre in the object | area |"]
    lines.append("|---|---|---|---|---|")
    for size, one in told["sizes"].items():
        for way, shown in one["where"]["ways"].items():
            told_of = (
                "{:.0%} (found: {:.0%})".format(*shown[key]) for key in ("region_holds_object", "centre_in_object")
            )
            lines.append(f"| {size} | {way} | {' | '.join(told_of)} | {shown['area']:.3f} |")
    return "\n".join(lines)


def _row(size: str, way: str, found: dict[str, Any]) -> str:
    ranges = ("{:.2f} ({:.2f} to {:.2f})".format(*found[key]) for key in ("average_precision", "recall"))
    return f"| {size} | {way} | {' | '.join(ranges)} | {found['over_the_whole_cut']:.0%} | {found['encoded']:.0f} |"


if __name__ == "__main__":
    main()

"""What wrong captions do to training: the same run with 0, 20 and 40 % of the captions shuffled.

Every fifth picture is held out, its caption untouched. Of the others a share exchange their captions among themselves, so that
each of these is another picture's. Everything else is one run: start, seed, order of pictures, crops, rates. Reported
at each measurement: the mean loss since the last one, the learned scale, and recall among the held-out pictures.

    python benchmarks/noise.py [--pairs FILE.jsonl --start bundled] [--shares 0 0.2 0.4] [--steps 600] [--batch 64] [--json]

Without `--pairs` it draws shapes, each captioned with what it shows, and a small encoder learns them from nothing. With them, FILE holds
lines with `path` (from where the file stands) and `caption`, and a checkpoint is adapted to them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from moderation.training.loop import train

HELD_OUT = 5  # one in so many
SIDE = 32
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {"red": "#d22", "green": "#2a2", "blue": "#23d", "yellow": "#ec2", "white": "#fff", "black": "#111"}
PLACES = {"left": 10, "right": 22, "middle": 16}
FROM_NOTHING = """width = 64
image = {kind = "vit", size = 32, patch = 8, width = 96, layers = 3, heads = 4}
text = {tokenizer = "bundled", context = 24, width = 64, layers = 2, heads = 4}"""

Row = Mapping[str, str]


def draw_shapes(folder: Path) -> list[Row]:
    """Every shape in every colour on every other, in three places, each a little elsewhere."""
    dice, rows = np.random.default_rng(0), []
    for at, (shape, colour, ground, place) in enumerate(itertools.product(SHAPES, COLOURS, COLOURS, PLACES)):
        if colour == ground:
            continue
        picture = Image.new("RGB", (SIDE, SIDE), COLOURS[ground])
        x, y = PLACES[place] + int(dice.integers(-2, 3)), SIDE // 2 + int(dice.integers(-5, 6))
        half = int(dice.integers(6, 9))
        draw_shape(ImageDraw.Draw(picture), shape, (x - half, y - half, x + half, y + half), COLOURS[colour])
        path = folder / f"{at}.png"
        picture.save(path)
        rows.append({"path": str(path), "caption": f"a {colour} {shape} on the {place} of a {ground} picture"})
    return rows


def draw_shape(pen: ImageDraw.ImageDraw, shape: str, box: tuple[int, int, int, int], colour: str) -> None:
    """One of SHAPES in its box."""
    left, top, right, bottom = box
    x, y = (left + right) // 2, (top + bottom) // 2
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, top), (right, bottom), (left, bottom)], fill=colour)
    else:
        pen.rectangle((left, y - 2, right, y + 2), fill=colour)
        pen.rectangle((x - 2, top, x + 2, bottom), fill=colour)


def read_rows(file: Path) -> list[Row]:
    """The lines of a manifest, their paths taken from where it stands."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [{"path": str(file.resolve().parent / row["path"]), "caption": row["caption"]} for row in rows]


def shuffled(rows: Sequence[Row], share: float) -> list[Row]:
    """The rows, of which that share have another's caption; more share means the same rows and more."""
    order = np.random.default_rng(0).permutation(len(rows))[: round(share * len(rows))]
    captions = {int(to): rows[of]["caption"] for to, of in zip(order, np.roll(order, 1), strict=True)}
    return [{**row, "caption": captions.get(at, row["caption"])} for at, row in enumerate(rows)]


def one_run(rows: Sequence[Row], share: float, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with that share of captions shuffled; what the log says at each measurement."""
    learned = [row for at, row in enumerate(rows) if at % HELD_OUT]
    write(folder / "learned.jsonl", shuffled(learned, share))
    write(folder / "held_out.jsonl", rows[::HELD_OUT])
    model = f"start = {json.dumps(options.start)}" if options.start else FROM_NOTHING
    config = folder / "train.toml"
    config.write_text(
        f"""out = "run"
seed = {options.seed}
steps = {options.steps}
batch = {options.batch}
save_every = {options.steps}
[data]
pairs = ["learned.jsonl"]
[model]
{model}
[optimiser]
rate = {options.rate}
tower_rate = {options.rate}
warm_up = {options.steps // 10}
cool_down = {options.steps // 3}
average = {options.average}
[valid]
pairs = ["held_out.jsonl"]
every = {max(1, options.steps // options.measurements)}
""",
        encoding="utf-8",
    )
    train(config)
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {"shuffled": share, "learned_from": len(learned), "held_out": len(rows) - len(learned), "curve": curve(log)}


def curve(log: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """A point for each measurement, with the mean loss since the one before."""
    found, since = [], 0
    for at, line in enumerate(log):
        if "valid/captions_r1" in line:
            loss = float(np.mean([one["loss"] for one in log[since : at + 1]]))
            kept = {name.removeprefix("valid/"): value for name, value in line.items() if name.startswith("valid/")}
            found.append({"step": line["step"], "loss": loss, "scale": line["scale"], **kept})
            since = at + 1
    return [{name: round(value, 4) for name, value in point.items()} for point in found]


def write(file: Path, rows: Sequence[Row]) -> None:
    """One line of JSON each."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Train once for each share and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, help="pictures with captions, JSONL")
    parser.add_argument(
        "--start", help="the checkpoint that is adapted; without it a small encoder learns from nothing"
    )
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.2, 0.4], help="of captions shuffled")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--average", type=float, default=0.98, help="decay of the running average that is measured")
    parser.add_argument("--measurements", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pictures").mkdir()
        rows = read_rows(options.pairs) if options.pairs else draw_shapes(Path(folder) / "pictures")
        np.random.default_rng(0).shuffle(rows)  # type: ignore[arg-type]
        runs = []
        for share in options.shares:
            place = Path(folder) / f"shuffled-{share}"
            place.mkdir()
            runs.append(one_run(rows, share, place, options))
    result = {
        "pairs": options.pairs.name if options.pairs else "drawn shapes", "start": options.start or "from nothing",
        "steps": options.steps, "batch": options.batch, "seed": options.seed, "torch": torch.__version__, "runs": runs,
    }  # fmt: skip
    print(json.dumps(result) if options.json else table(result))


def table(result: Mapping[str, Any]) -> str:
    """For people."""
    lines = [", ".join(f"{name} {value}" for name, value in result.items() if name != "runs")]
    lines.append("shuffled   step   loss  scale  captions@1  @5  pictures@1  @5")
    for run in result["runs"]:
        for at in run["curve"]:
            recalls = "  ".join(
                f"{at[name]:.3f}" for name in ("captions_r1", "captions_r5", "pictures_r1", "pictures_r5")
            )
            lines.append(f"{run['shuffled']:8.0%}  {at['step']:5.0f}  {at['loss']:5.3f}  {at['scale']:5.1f}  {recalls}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""Small runs: tiny checkpoints with random weights, pictures of coloured shapes with captions, configurations over them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moderation.training.loop import Progress, train
from tests.unit.encoder import checkpoints

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30), "black": (10, 10, 10)}
THINGS = ("gun", "bottle")

RUN = """
out = "{out}"
steps = {steps}
batch = {batch}
save_every = {save_every}
threads = 1
{top}
[data]
pairs = ["captions.jsonl"]
[optimiser]
rate = 1e-2
tower_rate = 3e-3
warm_up = 2
cool_down = 2
average = 0.5
{sections}
"""


def picture(colour: str, thing: str, seed: int) -> bytes:
    """A coloured square (a gun) or stripe (a bottle) on grey noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 156, (40, 40, 3), np.uint8)
    left, top = rng.integers(2, 12, 2)
    wide, high = (24, 24) if thing == "gun" else (8, 26)
    pixels[top : top + high, left : left + wide] = COLOURS[colour]
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def prepare(folder: Path, *, count: int = 48) -> None:
    """Pictures with captions, and a checkpoint of each kind to start from."""
    names = [(colour, thing) for colour in COLOURS for thing in THINGS]
    rows = []
    (folder / "pictures").mkdir()
    for at in range(count):
        colour, thing = names[at % len(names)]
        (folder / "pictures" / f"{at}.png").write_bytes(picture(colour, thing, at))
        rows.append({"path": f"pictures/{at}.png", "captions": [f"a {colour} {thing}", f"the {thing} of {colour}"]})
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("clip", "siglip", "vit", "resnet", "sentence"):
        (folder / name).mkdir()
    checkpoints.clip(folder / "clip")
    checkpoints.siglip(folder / "siglip")
    checkpoints.sentence(folder / "sentence")
    for vision in ("vit", "resnet"):
        checkpoints.dual(folder / vision, vision)


def write(folder: Path, name: str, sections: str, *, top: str = "", **numbers: Any) -> Path:
    """The configuration `name`.toml whose run lies in the folder `name`."""
    values = {"steps": 6, "batch": 8, "save_every": 3, **numbers}
    path = folder / f"{name}.toml"
    path.write_text(RUN.format(out=name, sections=sections, top=top, **values), encoding="utf-8")
    return path


def run(folder: Path, name: str, sections: str, *, resume: bool = False, **more: Any) -> list[Progress]:
    """Train it, and every step as it was told."""
    seen: list[Progress] = []
    train(write(folder, name, sections, **more), resume=resume, progress=seen.append)
    return seen

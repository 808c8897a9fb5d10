"""Renders every drawing once into two arrays: train.npy (what may be trained on) and measured.npy (held out), with a JSONL row each."""

import io
import json
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import resvg_py
from drawings import (
    COLOUR_ICON_STYLES,
    EMOJI_STYLES,
    ICON_STYLES,
    MEASURED_STYLES,
    Drawing,
    emoji_drawings,
    icon_drawings,
    shared_icons,
    tile_drawings,
)
from heldout import held_out_objects
from objects import words
from PIL import Image

SIZE = 128


def all_drawings(packages: Path, data: Path) -> Iterator[Drawing]:
    """Every drawing of every source, in a fixed order."""
    for style in EMOJI_STYLES + MEASURED_STYLES:
        yield from emoji_drawings(packages, data, style)
    for source in ("game-icons", "mdi"):
        yield from shared_icons(data, source)
    yield from tile_drawings(data)
    for style in ICON_STYLES:
        yield from icon_drawings(packages, style)


def is_held_out(drawing: Drawing, held_out: frozenset[str]) -> bool:
    """True where the drawing's object, or its singular, plural or spaceless spelling, is held out, or its style is.

    Colour icons carry long names ("casino chip 5", "card game spade"), so there any run of words that names a held-out object will do.
    """
    name = drawing.object
    spellings = {name, name.removesuffix("s"), name + "s", drawing.name.lower()}
    if drawing.source in COLOUR_ICON_STYLES:
        run = words(drawing.name)
        parts = {" ".join(run[i:j]) for i in range(len(run)) for j in range(i + 1, len(run) + 1)}
        spellings |= parts | {part.removesuffix("s") for part in parts}
    return drawing.source in MEASURED_STYLES or bool(spellings & held_out)


def rasterise(drawing: Drawing) -> np.ndarray | None:
    """RGBA uint8 [SIZE, SIZE, 4], the drawing in the middle at its own proportions, or None where it cannot be drawn."""
    if drawing.png is not None:
        picture = Image.open(io.BytesIO(drawing.png)).convert("RGBA").resize((SIZE, SIZE), Image.Resampling.NEAREST)
        return np.asarray(picture)
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=_uncovered(drawing), width=SIZE, skip_system_fonts=True))
    except ValueError:
        return None
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    picture.thumbnail((SIZE, SIZE), Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (SIZE, SIZE))
    canvas.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    array = np.asarray(canvas)
    return array if array[..., 3].max() > 0 else None


def _uncovered(drawing: Drawing) -> str:
    svg = (drawing.svg or "").replace("currentColor", "#000")
    if drawing.source == "game-icons":  # a black square behind a white drawing: keep the drawing, in black
        svg = svg.replace('<path d="M0 0h512v512H0z"/>', "").replace('fill="#fff"', 'fill="#000"')
    return svg


def write(drawings: list[Drawing], folder: Path, name: str, pool_size: int) -> None:
    """Render `drawings` into folder/name.npy (uint8 [n, SIZE, SIZE, 4]) and folder/name.jsonl."""
    array = np.lib.format.open_memmap(
        folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(len(drawings), SIZE, SIZE, 4)
    )
    with Pool(pool_size) as pool, (folder / f"{name}.jsonl").open("w", encoding="utf-8") as rows:
        for i, (drawing, picture) in enumerate(
            zip(drawings, pool.imap(rasterise, drawings, chunksize=32), strict=True)
        ):
            if picture is not None:
                array[i] = picture
            row = {"source": drawing.source, "file": drawing.file, "name": drawing.name, "object": drawing.object}
            rows.write(json.dumps(row | {"words": drawing.words, "empty": picture is None}, ensure_ascii=False) + "\n")
    array.flush()


def split(drawings: Iterable[Drawing]) -> tuple[list[Drawing], list[Drawing]]:
    """(may be trained on, held out): the extra icon packages and tiles are never measured, so what they hold out is dropped."""
    held_out = held_out_objects()
    train, measured = [], []
    for drawing in drawings:
        if not is_held_out(drawing, held_out):
            train.append(drawing)
        elif drawing.source not in ICON_STYLES and drawing.source != "dcss":
            measured.append(drawing)
    return train, measured


def render_all(packages: Path, data: Path, out: Path, *, processes: int = 2) -> None:
    """Write both arrays from the icon packages (a node_modules folder) and the data folder."""
    out.mkdir(parents=True, exist_ok=True)
    train, measured = split(all_drawings(packages, data))
    print(f"{len(train)} drawings to train on, {len(measured)} held out", flush=True)
    write(measured, out, "measured", processes)
    write(train, out, "train", processes)

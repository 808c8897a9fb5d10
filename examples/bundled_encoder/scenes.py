"""Puts a drawing into a measuring picture with Pillow alone, so that measuring shares no code with the training augmentation."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 160


def plain(drawing: np.ndarray) -> bytes:
    """The drawing uint8 [s, s, 4] in the middle of a white picture, PNG."""
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    picture = Image.fromarray(drawing).resize((SIDE - 16, SIDE - 16), Image.Resampling.BICUBIC)
    canvas.paste(picture, (8, 8), picture)
    return _encoded(canvas, "PNG")


def scene(drawing: np.ndarray, rng: np.random.Generator, photos: Sequence[Image.Image]) -> bytes:
    """The drawing turned up to 25 degrees, scaled, cut off a little at an edge, on another background, as a JPEG of quality 40 to 90."""
    canvas = _background(rng, photos)
    side = int(SIDE * rng.uniform(0.6, 1.05))
    picture = Image.fromarray(_coloured(drawing, canvas, rng)).resize((side, side), Image.Resampling.BICUBIC)
    picture = picture.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)
    slack = abs(SIDE - side) + int(SIDE * 0.2)
    corner = [(SIDE - side) // 2 + int(rng.uniform(-0.5, 0.5) * slack) for _ in range(2)]
    canvas.paste(picture, (corner[0], corner[1]), picture)
    if rng.random() < 0.2:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    return _encoded(canvas, "JPEG", quality=int(rng.uniform(40, 90)))


def _background(rng: np.random.Generator, photos: Sequence[Image.Image]) -> Image.Image:
    kind = rng.random()
    if kind < 0.25 and photos:
        return photos[rng.integers(len(photos))].resize((SIDE, SIDE)).convert("RGB")
    one, two = (tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2))
    canvas = Image.new("RGB", (SIDE, SIDE), "white" if kind < 0.45 else one)
    if kind >= 0.65:  # two colours: graded or ruled
        mask = Image.linear_gradient("L").resize((SIDE, SIDE)).rotate(90 * int(rng.integers(4)))
        if kind >= 0.85:
            mask = Image.new("L", (SIDE, SIDE))
            draw = ImageDraw.Draw(mask)
            for at in range(0, SIDE, 16):
                draw.line((at, 0, at, SIDE), fill=120, width=int(rng.integers(1, 6)))
        canvas = Image.composite(Image.new("RGB", (SIDE, SIDE), two), canvas, mask)
    return canvas


def _coloured(drawing: np.ndarray, canvas: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """One-colour drawings in a random ink that stands out; drawings in colours as they are."""
    covered = drawing[..., 3] > 0
    if not covered.any() or drawing[..., :3][covered].max() > 40:
        return drawing
    bright = np.asarray(canvas.convert("L")).mean() > 127
    ink = rng.integers(0, 90, 3) if bright else rng.integers(165, 256, 3)
    inked = drawing.copy()
    inked[..., :3] = ink
    return inked


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()

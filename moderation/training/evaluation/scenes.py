"""Scenes of coloured shapes that we draw ourselves, so that what a caption says of them is true or false beyond doubt."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 224
COLOURS = {"red": (214, 32, 38), "green": (34, 150, 60), "blue": (36, 84, 205), "yellow": (245, 205, 25)}
SHAPES = ("circle", "square", "triangle", "star")
_CORNERS = {
    "square": (4, 1.0),
    "triangle": (3, 1.0),
    "star": (10, 0.45),
}  # corners, and how far in every second one lies
_FINER = 4  # drawn larger and shrunk, so that edges are smooth


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape of a colour."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing in a scene: its centre and radius as shares of the side, y downwards."""

    thing: Thing
    x: float
    y: float
    radius: float


def draw(things: Sequence[Placed]) -> bytes:
    """The scene on white as a PNG file; the same things give the same bytes."""
    side = SIZE * _FINER
    image = Image.new("RGB", (side, side), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for one in things:
        x, y, radius = one.x * side, one.y * side, one.radius * side
        fill = COLOURS[one.thing.colour]
        if one.thing.shape == "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            pen.polygon(_outline(one.thing.shape, x, y, radius), fill=fill)
    file = io.BytesIO()
    image.resize((SIZE, SIZE), Image.Resampling.BOX).save(file, "PNG")
    return file.getvalue()


def _outline(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    corners, inner = _CORNERS[shape]
    start = -math.pi / 4 if shape == "square" else -math.pi / 2
    points = []
    for corner in range(corners):
        angle, reach = start + 2 * math.pi * corner / corners, radius * (inner if corner % 2 else 1.0)
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return points

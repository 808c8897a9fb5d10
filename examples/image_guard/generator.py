"""A stand-in for a text-to-image model: it draws what it knows of a prompt's words, with Pillow. A model in its place is one function, too."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw

SIDE = 256
SKIES = ((176, 216, 240), (244, 208, 160), (196, 226, 188), (222, 202, 236))
Canvas = ImageDraw.ImageDraw


def generate(prompt: str) -> bytes:
    """A PNG file, the same for the same prompt. What it has no drawing for is a sun."""
    image = Image.new("RGB", (SIDE, SIDE), SKIES[zlib.crc32(prompt.encode()) % len(SKIES)])
    words = prompt.lower().replace(",", " ").split()
    draw = next((DRAWINGS[word] for word in words if word in DRAWINGS), _sun)
    draw(ImageDraw.Draw(image))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _sun(canvas: Canvas) -> None:
    canvas.ellipse((78, 78, 178, 178), fill=(250, 200, 40), outline=(200, 140, 20), width=4)


def _house(canvas: Canvas) -> None:
    canvas.rectangle((68, 120, 188, 220), fill=(200, 90, 70))
    canvas.polygon([(52, 124), (128, 52), (204, 124)], fill=(110, 60, 50))
    canvas.rectangle((112, 164, 144, 220), fill=(80, 50, 40))
    canvas.rectangle((80, 136, 104, 160), fill=(240, 230, 160))


def _boat(canvas: Canvas) -> None:
    canvas.polygon([(48, 170), (208, 170), (176, 212), (80, 212)], fill=(130, 70, 40))
    canvas.rectangle((124, 44, 130, 170), fill=(90, 60, 40))
    canvas.polygon([(136, 52), (136, 156), (200, 156)], fill=(250, 250, 245))


def _skull(canvas: Canvas) -> None:
    canvas.ellipse((58, 36, 198, 176), fill=(245, 245, 238))
    canvas.rectangle((92, 150, 164, 214), fill=(245, 245, 238))
    for left in (82, 138):
        canvas.ellipse((left, 86, left + 38, 130), fill=(20, 20, 24))
    canvas.polygon([(128, 128), (116, 154), (140, 154)], fill=(20, 20, 24))
    for left in (104, 122, 140):
        canvas.rectangle((left, 178, left + 6, 214), fill=(20, 20, 24))


DRAWINGS: Mapping[str, Callable[[Canvas], None]] = {
    "house": _house,
    "boat": _boat,
    "sun": _sun,
    "skull": _skull,
    "halloween": _skull,
}

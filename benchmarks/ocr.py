"""Text in pictures: how many pictures one thread reads in a second of the processor's time, which share of the words in drawn ones, and in how many of the shipped drawings it sees text.

Words, colours and places are drawn with a seed, in the one typeface that Pillow has with it: photos of signs and fancy letters are harder. Needs plugins/moderation-ocr.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-ocr"))

from moderation_ocr.reader import Ocr
from moderation_ocr.section import Section

from moderation.item import Part

ROOT = Path(__file__).resolve().parent.parent
SEED = 7
LIST = """about account address again before better bonus bottle bring casino change children choose clothes country credit deposit different double evening family
follow forget friend garden ground happen holiday hundred important inside journey kitchen language letter little market midnight minute money morning mother never
number offer order paper people picture please promise question quick remember second silver simple sister something station street summer ticket together tomorrow
travel under vegetable village water weather welcome window winter without wonder yellow"""
WORDS = LIST.split()
WAYS: dict[str, Mapping[str, Any]] = {
    "40 pixels": {"size": 40},
    "20 pixels": {"size": 20},
    "14 pixels": {"size": 14},
    "10 pixels": {"size": 10},
    "8 pixels": {"size": 8},
    "grey 165 on grey 185": {"size": 24, "ink": 165, "paper": 185},
    "grey 175 on grey 185": {"size": 24, "ink": 175, "paper": 185},
    "turned by 10 degrees": {"size": 24, "angle": 10},
    "turned by 30 degrees": {"size": 24, "angle": 30},
    "turned by 90 degrees": {"size": 24, "angle": 90},
    "upside down": {"size": 24, "angle": 180},
    "JPEG of quality 20": {"size": 20, "quality": 20},
    "white on a picture": {"size": 26, "ink": 255, "drawing": True},
}
SIZES = {
    "320x240, 2 lines": (320, 240, 2),
    "640x480, 4 lines": (640, 480, 4),
    "1280x960, 8 lines": (1280, 960, 8),
    "1080x1920, 30 lines": (1080, 1920, 30),
    "640x480, none": (640, 480, 0),
}


def _drawn(
    rng: random.Random,
    lines: int,
    *,
    canvas: tuple[int, int],
    size: int,
    ink: int = 0,
    paper: int = 255,
    angle: float = 0,
    drawing: bool = False,
    quality: int = 90,
) -> tuple[bytes, list[str]]:
    """A picture's file, and its words; as few on a line as have room."""
    wide = max(1, int(0.8 * min(canvas) / (size * 4)))
    words = [rng.choices(WORDS, k=min(wide, 6)) for _ in range(lines)]
    picture = Image.new("L", canvas, paper)
    if drawing:
        file = rng.choice(sorted((ROOT / "policies" / "pictures" / "background").glob("*.webp")))
        picture = Image.open(file).convert("L").resize(canvas).point(lambda tone: tone // 2)
    mask = Image.new("L", canvas)
    text = "\n".join(" ".join(line) for line in words)
    ImageDraw.Draw(mask).multiline_text(
        (canvas[0] / 2, canvas[1] / 2),
        text,
        font=ImageFont.load_default(size),
        fill=255,
        anchor="mm",
        align="center",
        spacing=size // 2,
    )
    picture.paste(ink, mask=mask.rotate(angle, Image.Resampling.BICUBIC))
    content = io.BytesIO()
    picture.convert("RGB").save(content, "JPEG", quality=quality)
    return content.getvalue(), [word for line in words for word in line]


def _words(reader: Ocr, content: bytes) -> list[str]:
    (reading,) = reader.read((Part.image(content),))
    return re.findall(r"\w+", " ".join(part.content.decode() for part in reading).lower())


def _recall(reader: Ocr, pictures: int, options: Mapping[str, Any]) -> float:
    rng = random.Random(SEED)
    found, all_ = 0, 0
    for _ in range(pictures):
        content, words = _drawn(rng, 4, canvas=(640, 640), **options)
        read = _words(reader, content)
        found += sum(word in read for word in words)
        all_ += len(words)
    return round(found / all_, 3)


def _rate(reader: Ocr, rounds: int, width: int, height: int, lines: int) -> float:
    """Pictures in a second of the processor's time, which other programs do not change much, decoding with it: the median of the rounds."""
    rng, seconds = random.Random(SEED), []
    for _ in range(rounds + 1):
        content, _ = _drawn(rng, lines, canvas=(width, height), size=max(14, min(width, height) // 24))
        begun = time.process_time()
        _words(reader, content)
        seconds.append(time.process_time() - begun)
    return round(1 / statistics.median(seconds[1:]), 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=int, default=12, help="of each way of writing")
    parser.add_argument("--ways", type=int, default=len(WAYS), help="of writing, the first so many")
    parser.add_argument("--drawings", type=int, default=400, help="of those shipped")
    parser.add_argument(
        "--largest", type=int, default=10_000, help="pixels of the longer side of what speed is measured on"
    )
    parser.add_argument("--json", action="store_true", help="on one line")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    reader = Ocr(Section())
    begun = time.perf_counter()
    reader.setup()
    reader.verify()
    ready = time.perf_counter() - begun
    drawings = sorted((ROOT / "policies" / "pictures").rglob("*.webp"))
    shown = random.Random(SEED).sample(drawings, min(arguments.drawings, len(drawings)))
    result = {
        "load_before": round(load, 1),
        "ready_seconds": round(ready, 2),
        "pictures_a_processor_second": {
            name: _rate(reader, arguments.rounds, *size)
            for name, size in SIZES.items()
            if max(size[:2]) <= arguments.largest
        },
        "words_read": {
            name: _recall(reader, arguments.pictures, options) for name, options in list(WAYS.items())[: arguments.ways]
        },
        "drawings": len(shown),
        "drawings_with_text": sum(bool(_words(reader, file.read_bytes())) for file in shown),
    }
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()

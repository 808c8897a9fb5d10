"""Writes the drawing styles that training never saw as folders per class with captions, for `moderation train evaluate`."""

import argparse
import json
from pathlib import Path

from drawings import MEASURED_STYLES, Drawing, emoji_drawings
from PIL import Image
from render import rasterise

# What most drawings of a Unicode group show, in words that a caption might use. People and flags are left out: tones and countries.
LABELS = {
    "Activities": "sport or game",
    "Animals & Nature": "animal or plant",
    "Food & Drink": "food or drink",
    "Objects": "tool or device",
    "Smileys & Emotion": "smiling face",
    "Symbols": "sign",
    "Travel & Places": "vehicle or building",
}


def main() -> None:
    """Write OUT/STYLE/CLASS/NAME.png and OUT/STYLE.jsonl for each style."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--packages", "--out"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    lines = (given.data / "emoji/emoji_corpus.jsonl").read_text(encoding="utf-8").splitlines()
    groups = {row["name"]: row["group"] for row in map(json.loads, lines)}
    for style in MEASURED_STYLES:
        named = {drawing.name: drawing for drawing in emoji_drawings(given.packages, given.data, style)}
        rows = [row for drawing in named.values() if (row := write(drawing, groups.get(drawing.name), given.out))]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (given.out / f"{style}.jsonl").write_text(text, encoding="utf-8")
        print(f"{style}: {len(rows)} pictures")


def write(drawing: Drawing, group: str | None, out: Path) -> dict[str, str] | None:
    """The drawing's line of the manifest, or None where its group has no label or it cannot be drawn."""
    pixels = rasterise(drawing) if group in LABELS else None
    if pixels is None:
        return None
    path = out / drawing.source / LABELS[str(group)].replace(" ", "_") / f"{drawing.file}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return {"path": path.relative_to(out).as_posix(), "caption": drawing.name}


if __name__ == "__main__":
    main()

"""Draws the people of the shipped audits: OpenMoji's persons in five skin tones and two genders, and writes their manifest.

    python examples/audit_people/people.py --icons node_modules/@iconify-json/openmoji/icons.json --out policies

The encoder never saw this drawing style while it was trained. A cluster is one emoji, say a cook, in all its tones and genders; hands
have tones and no gender. None of them breaks a sticker policy: where one is acted on, that is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image

SIZE = 96
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
GENDERS = ("man", "woman")
_TONE = re.compile(r"-(medium-light|medium-dark|light|medium|dark)-skin-tone")
_GENDER = re.compile(r"^(man|woman)(-|$)")
_LIMBS = frozenset(
    [
        "hand",
        "hands",
        "finger",
        "fingers",
        "fist",
        "thumb",
        "thumbs",
        "palm",
        "palms",
        "salute",
        "biceps",
        "ear",
        "nose",
        "leg",
        "foot",
        "polish",
        "horns",
        "gesture",
        "selfie",
        "index",
    ]
)
# Whether these show a weapon, or whom they show, is a matter of opinion.
LEFT_OUT = {"ninja", "supervillain", "man-supervillain", "woman-supervillain", "handshake", "medium"}


@dataclass(frozen=True, slots=True)
class Person:
    """One drawing: its file name in the set, the emoji it is a variant of, and what varies."""

    name: str
    emoji: str
    tone: str
    gender: str | None
    svg: str


def people(icons: Mapping[str, Any]) -> Iterator[Person]:
    """Every emoji that comes in all five tones and either in both genders or, as a hand or foot does, without any; in a fixed order."""
    drawn: dict[str, dict[str | None, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name in sorted(icons["icons"]):
        tones = _TONE.findall(name)
        base = _TONE.sub("", name)
        if len(tones) != 1 or base in LEFT_OUT or base.endswith("facing-right"):
            continue
        found = _GENDER.match(base)
        emoji = _GENDER.sub("", base) if found else base
        drawn[emoji or "person"][found[1] if found else None][tones[0]] = name
    for emoji, genders in sorted(drawn.items()):
        both = [one for one in GENDERS if len(genders.get(one, {})) == len(TONES)]
        kept: list[str | None] = list(both) if len(both) == len(GENDERS) else []
        if set(genders) == {None} and len(genders[None]) == len(TONES) and is_limb(emoji):
            kept = [None]
        for gender in kept:
            for tone in TONES:
                name = genders[gender][tone]
                yield Person(name, emoji, tone, gender, _svg(icons, name))


def is_limb(emoji: str) -> bool:
    """Whether an emoji shows a hand, a foot, an ear: a part of nobody in particular."""
    shown = set(emoji.split("-"))
    return bool(shown & _LIMBS) and not shown & {"person", "people", "men", "women", "couple"}


def draw(person: Person) -> bytes:
    """The drawing on white, as WebP."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=person.svg, width=SIZE, height=SIZE, skip_system_fonts=True))
    page = Image.new("RGB", (SIZE, SIZE), "white")
    drawing = Image.open(io.BytesIO(png)).convert("RGBA")
    page.paste(drawing, mask=drawing.getchannel("A"))
    buffer = io.BytesIO()
    page.save(buffer, "WEBP", quality=70, method=6)
    return buffer.getvalue()


def write(icons: Path, out: Path) -> int:
    """The pictures into `out`/pictures/people, the manifest into `out`/data/people.audit.jsonl; how many there are."""
    read = json.loads(icons.read_text(encoding="utf-8"))
    folder, manifest = out / "pictures" / "people", out / "data" / "people.audit.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    lines, seen = [], set()
    for person in people(read):
        content = draw(person)
        digest = hashlib.sha256(content).hexdigest()
        if digest in seen:  # drawn without what the name says: no evidence of anything
            continue
        seen.add(digest)
        (folder / f"{person.name}.webp").write_bytes(content)
        attributes = {"skin_tone": person.tone} | ({"gender": person.gender} if person.gender else {})
        row = {
            "path": f"../pictures/people/{person.name}.webp", "sha256": digest, "target": False,
            "cluster": f"person {person.emoji}", "attributes": attributes,
            "source": f"openmoji:{person.name}", "licence": "CC-BY-SA-4.0",
        }  # fmt: skip
        lines.append(json.dumps(row, separators=(",", ":")))
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def _svg(icons: Mapping[str, Any], name: str) -> str:
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{icon["body"]}</svg>'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True, help="icons.json of the package @iconify-json/openmoji")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the policies")
    arguments = parser.parse_args()
    print(f"{write(arguments.icons, arguments.out)} pictures")
